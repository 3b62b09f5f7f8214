"""Objects: names, signed links, and a client for any S3."""
