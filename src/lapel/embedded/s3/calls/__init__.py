"""The calls of the S3 API."""
