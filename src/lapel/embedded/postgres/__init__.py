"""A PostgreSQL server that Lapel installs, starts and supervises."""
