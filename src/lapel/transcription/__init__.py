"""Speech: decode, transcribe, tell speakers apart, keep and export transcripts."""
