"""Organizations, projects, their two worlds, and the keys to them."""
