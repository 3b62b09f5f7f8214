"""The lowest layer of the foundation. From the rest of Lapel it imports only the settings."""
