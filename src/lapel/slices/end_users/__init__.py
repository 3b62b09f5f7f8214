"""End users: the people whose recordings these are."""
