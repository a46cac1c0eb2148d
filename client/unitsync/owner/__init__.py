"""Which process owns a run: the script that called a verb."""
