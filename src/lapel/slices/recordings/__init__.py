"""Recordings and their media: upload, verification, storage, and download through signed links."""
