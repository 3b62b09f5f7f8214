"""The extractive engine: it answers with sentences of a transcript. Pure functions of texts and vectors."""
