"""The rows of recordings: create, read, list, change."""
