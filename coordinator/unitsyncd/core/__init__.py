"""The rules, pure: no asyncio, zmq, os, time or randomness in this package."""
