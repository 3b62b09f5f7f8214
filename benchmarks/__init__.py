"""Benchmarks: the cost of Lapel, as ratios to programs that do the same. `make bench` runs all of them."""
