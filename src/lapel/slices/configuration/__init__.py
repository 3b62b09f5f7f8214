"""Configuration: sections as data, overrides on levels, and what results from them."""
