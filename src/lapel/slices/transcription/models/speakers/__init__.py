"""Speaker embeddings, and their grouping by person."""
