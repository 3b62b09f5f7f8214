"""Tokens, sealing, signing, and who is calling."""
