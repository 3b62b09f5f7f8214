"""The HTTP calls to providers."""
