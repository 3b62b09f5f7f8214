"""Configuration: sections as data, overrides on levels, and the resolved values."""
