"""Posts a claimed delivery: the request, what its answer means, and when the next attempt follows."""
