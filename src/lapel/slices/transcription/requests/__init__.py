"""What is checked before a transcription begins: the languages of a request, and the hours of audio of the day."""
