"""A simulated fleet: devices that use a running server, and an oracle that checks what the server promised.

It uses only HTTP and imports nothing of the server, so it sees the faults that a real device would see.
"""
