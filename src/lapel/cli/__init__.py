"""The command `lapel`: the only code that writes to a terminal."""
