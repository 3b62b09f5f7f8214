"""Configuration: sections, levels, merging."""
