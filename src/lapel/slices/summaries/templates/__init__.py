"""Templates: what a summary has, built in or of a project."""
