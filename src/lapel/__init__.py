"""Lapel: the cloud behind devices that record conversations."""

__version__ = "0.1.0"
