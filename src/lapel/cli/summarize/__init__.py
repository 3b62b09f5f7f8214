"""`lapel summarize`: a summary of one file, without a server."""
