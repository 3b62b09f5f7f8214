"""Search in transcripts, by words and by meaning."""
