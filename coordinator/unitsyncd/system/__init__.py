"""The machine: clocks, processes and their ends, memory, the folder's lock, systemd."""
