"""Speech recognition by Whisper."""
