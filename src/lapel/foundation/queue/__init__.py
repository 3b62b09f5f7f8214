"""Background jobs: what enqueues them, and the worker that runs them."""
