"""Publication: the staged object of an accepted manifest becomes the audio of its recording."""
