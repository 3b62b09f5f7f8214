"""Slots: the names that clients ask for, and the engine that answers each name."""
