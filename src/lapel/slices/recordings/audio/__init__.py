"""What other slices read of the audio of a recording, and write back."""
