"""Rollouts: stages, failures, and the sweep that halts or ends them."""
