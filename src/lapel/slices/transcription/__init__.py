"""Speech: decode and transcribe audio, diarize, store and export transcripts."""
