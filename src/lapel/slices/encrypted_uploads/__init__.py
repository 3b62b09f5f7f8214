"""Recordings that devices encrypt before they upload them, for the server alone."""
