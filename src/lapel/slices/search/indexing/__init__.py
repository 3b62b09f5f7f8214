"""The rows by which transcripts are found: chunks with their words, and vectors."""
