"""The extractive engine of summaries: sentences of the transcript, chosen and not written."""
