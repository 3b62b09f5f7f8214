"""The S3 protocol: requests, signatures, bodies, checksums, XML."""
