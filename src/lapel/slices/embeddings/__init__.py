"""Embeddings of texts, for search by meaning: the model and the processes in which it runs."""
