"""Signed links to media."""
