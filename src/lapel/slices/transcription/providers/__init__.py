"""Transcription providers: the local model and remote services, with one common protocol."""
