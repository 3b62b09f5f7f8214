"""A slice that only tests have: a toy can be made, and read by its own token."""
