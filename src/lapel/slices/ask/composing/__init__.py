"""What an answer says: passages of transcripts, a model or the extractive engine, checked citations."""
