"""The audit log: the actor of each change, and the values before and after."""
