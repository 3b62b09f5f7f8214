"""Recordings and their media: taken in, kept, handed back through signed links."""
