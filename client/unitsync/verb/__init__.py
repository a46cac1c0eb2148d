"""The verbs: their descriptions, and the cheap path from words to an exit status."""
