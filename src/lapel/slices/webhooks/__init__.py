"""Webhooks: addresses of other systems, and the deliveries of events to them."""
