"""Who spoke when: windows, embeddings, clustering, turns."""
