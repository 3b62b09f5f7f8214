"""Adapters of language model services: one for each dialect of HTTP."""
