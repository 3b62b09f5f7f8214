"""The work on summaries in the workers: claiming, retries, ending."""
