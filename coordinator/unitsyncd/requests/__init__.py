"""What a request does: a handler for each, the turn that carries them out, their replies."""
