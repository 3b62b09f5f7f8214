"""The HTTP calls to speech services."""
