"""A simulated fleet: devices that live against a running server, and an oracle that holds it to its word.

It speaks HTTP only and knows nothing of the server's inside: what it finds, a device would find.
"""
