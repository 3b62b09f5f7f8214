"""The peers: other programs that do the same as Lapel, for comparison."""
