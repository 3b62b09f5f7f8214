"""Assignments: one release for one device, its states and its events."""
