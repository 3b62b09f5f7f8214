"""What Lapel costs, as ratios to programs that do the same. `make bench` runs everything."""
