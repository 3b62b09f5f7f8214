"""Speech and speakers, and the transcript that is made of them. Imports nothing else of the slice."""
