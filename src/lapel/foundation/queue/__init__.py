"""Background jobs: enqueueing them, and the worker that runs them."""
