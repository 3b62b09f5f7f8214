"""A simulated fleet: devices that use a running server, and an oracle that checks the server's promises.

The fleet uses only HTTP and imports nothing of the server. So it sees the faults that a real device would
see.
"""
