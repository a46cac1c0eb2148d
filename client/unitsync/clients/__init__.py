"""What Client and AsyncClient are made of: their verbs, the conversation in messages, sockets."""
