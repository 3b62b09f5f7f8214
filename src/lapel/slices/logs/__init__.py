"""The requests of a world, followed as they are answered. Nothing of them is stored."""
