"""Everything that reaches outside of the process: sockets, processes, files."""
