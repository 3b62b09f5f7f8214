"""`lapel secrets`."""
