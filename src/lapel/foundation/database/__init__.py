"""The pool, the schema, and the tables that no slice owns."""
