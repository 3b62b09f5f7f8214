"""A device's side of encrypted upload v2, written from the published layouts and from nothing of the server.

All integers in the documents are little-endian.
"""
