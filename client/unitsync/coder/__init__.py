"""For scripts of Coder: the shim, the output of its commands, its agent."""
