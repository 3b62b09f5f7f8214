"""Transcription providers: the local model and remote services, behind one protocol."""
