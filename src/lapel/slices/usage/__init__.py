"""The usage of a project: its stored rows and bytes, and the audio that was transcribed for it today."""
