"""An upload from its link to its completion."""
