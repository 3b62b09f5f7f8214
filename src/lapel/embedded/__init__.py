"""The parts that a laptop has of its own: an S3 server and a supervised PostgreSQL."""
