"""The parts that a single machine runs itself: an S3 server and a supervised PostgreSQL."""
