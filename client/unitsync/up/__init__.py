"""The verbs check, up and down: one session from a plan to its exit status, and its display."""
