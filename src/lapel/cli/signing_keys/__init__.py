"""`lapel signing-keys`."""
