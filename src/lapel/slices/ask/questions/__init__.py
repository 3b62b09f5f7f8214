"""What a question asks, and which recordings its words of time mean: those of yesterday, the newest."""
