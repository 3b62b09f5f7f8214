"""What is checked before a transcription begins: the languages, and the hours of audio of the day."""
