"""What a project has stored, and what it has had transcribed today."""
