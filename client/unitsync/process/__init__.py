"""One command as a process: starting it, how it ends, whether it is ready, what it says."""
