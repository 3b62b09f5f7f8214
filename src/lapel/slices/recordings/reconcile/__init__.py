"""Scheduled work that completes or ends unfinished uploads, and compares the store with the rows."""
