"""What devices report with their heartbeats."""
