"""What may be registered: the checks of URLs and of event types."""
