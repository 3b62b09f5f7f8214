"""The policy of encrypted uploads that is in force for a device, and its revision."""
