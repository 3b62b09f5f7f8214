"""Finding, checking and downloading weights."""
