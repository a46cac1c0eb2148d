"""The verb ``mcp``: the startup, for coding agents that speak the Model Context Protocol.

``tool`` says what a tool is. ``looking`` and ``changing`` hold the tools, a class for each: its
text and parameters are what a model reads, and its ``call`` is what it does. ``answers`` makes
short answers of what the coordinator says, and is pure. ``progress`` tells what a wait waits for.
``server`` connects them to the agent, and is the only module that knows the protocol's SDK (the
extra ``unitsync[mcp]``).
"""
