"""The connection pool, the schema, and the tables that belong to no slice."""
