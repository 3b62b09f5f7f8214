"""The engine that delivers events to webhooks; it runs in every worker process."""
