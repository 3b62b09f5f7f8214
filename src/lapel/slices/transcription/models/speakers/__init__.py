"""Speaker embeddings, and their grouping."""
