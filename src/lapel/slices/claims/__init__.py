"""Claims: whether what was said supports a sentence."""
