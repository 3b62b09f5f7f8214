"""Tokens, sealing, signing, and the caller of a request."""
