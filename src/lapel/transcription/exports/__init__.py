"""A transcript as files of other programs."""
