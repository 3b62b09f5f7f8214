"""`lapel erase`."""
