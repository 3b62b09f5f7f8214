"""What was heard, who spoke, and the transcript that is made of it; imports nothing else of the slice."""
