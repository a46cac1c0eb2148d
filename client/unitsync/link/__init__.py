"""The way to the coordinator: where it is, starting it, one conversation, the bytes by hand."""
