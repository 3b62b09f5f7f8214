"""Who turns speech into text: the local model and remote services, behind one protocol."""
