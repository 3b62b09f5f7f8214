"""The functions with which other slices read the audio of a recording and write their results back."""
