"""The socket: connections, who may talk, what waits to be sent."""
