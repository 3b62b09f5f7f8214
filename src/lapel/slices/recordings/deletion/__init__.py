"""The deletion of recordings, one by one or of an end user."""
