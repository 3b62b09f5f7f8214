"""`lapel doctor` and its checks."""
