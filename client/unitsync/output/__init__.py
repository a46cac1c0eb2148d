"""What verbs print: lines, tables, JSON, errors."""
