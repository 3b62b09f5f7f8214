"""Objects as files: paths, metadata, durable writes, listings."""
