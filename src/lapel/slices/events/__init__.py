"""Events: reading them by page and by id, and following them as they happen."""
