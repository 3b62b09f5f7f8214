"""Calls to URLs that a tenant chooses: they reach public addresses, and networks that a setting names."""
