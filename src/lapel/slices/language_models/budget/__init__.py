"""The tokens that language models may use for a world in a day, and those that they used."""
