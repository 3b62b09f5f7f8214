"""Objects: names, signed links, a client for any S3 and an S3 endpoint of our own."""
