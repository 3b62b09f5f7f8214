"""The keys that sign documents for the devices of a project."""
