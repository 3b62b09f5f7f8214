"""Heartbeats: what devices report, and what they take home in the answer."""
