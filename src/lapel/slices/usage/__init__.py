"""The usage of a project: what it stores, and how much audio was transcribed for it today."""
