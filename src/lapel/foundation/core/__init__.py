"""What everything else stands on; imports nothing above the settings."""
