"""The log of a job over NATS: the link, and who reads and writes it."""
