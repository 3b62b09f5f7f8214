"""Commands: actions that a device executes once, and their results."""
