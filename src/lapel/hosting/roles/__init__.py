"""What each process of `lapel serve` does."""
