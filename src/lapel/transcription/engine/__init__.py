"""The local models in a process of their own: speech activity, Whisper, speaker embeddings."""
