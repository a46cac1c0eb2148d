"""Where modules come from, and how those that define messages are loaded."""
