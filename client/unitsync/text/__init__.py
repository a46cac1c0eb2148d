"""Text for people: printing it safely, terminals, durations."""
