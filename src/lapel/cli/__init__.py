"""The command `lapel`: one file per command, and the processes that `lapel serve` starts."""
