"""The object that a device stores and uploads: a header, encrypted blocks, and a trailer."""
