"""What touches the outside world: sockets, processes, files."""
