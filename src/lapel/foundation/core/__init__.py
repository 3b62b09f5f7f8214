"""The lowest room of the foundation; it imports only the settings."""
