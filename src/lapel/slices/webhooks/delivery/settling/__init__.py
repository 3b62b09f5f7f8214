"""Writes what came of attempts: deliveries, and the circuits and states of their webhooks."""
