"""The limit on the audio that is transcribed for a world in a day."""
