"""Diarization: windows, embeddings, clustering, turns."""
