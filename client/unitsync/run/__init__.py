"""The verbs that run a command as a unit, end it and run it again: run, kill, rerun."""
