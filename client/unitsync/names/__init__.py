"""The rules for names: of units, of units on other hosts, and patterns."""
