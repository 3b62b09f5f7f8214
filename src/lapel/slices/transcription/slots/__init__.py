"""Slots: the names that clients ask for, and the provider behind each."""
