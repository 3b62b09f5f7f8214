"""The documents and the stored object of encrypted upload v2, as the server reads, verifies and signs them.

This package is pure: it opens no file and no connection, and it reads no clock. Whatever bytes a device or a
client sends, the functions that read them raise only `Refused`. All integers in documents are little endian,
UUIDs are their 16 bytes, and a digest is the 32 bytes of a SHA-256.
"""
