"""How a request to an operation is answered: one strategy for each kind of handler."""
