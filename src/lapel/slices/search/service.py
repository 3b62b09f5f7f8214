"""Search in transcripts: sentences of a transcript."""

from __future__ import annotations

from lapel.slices.search.sentence_splitting import LONGEST_SENTENCE, Sentence, sentences_of

__all__ = ["LONGEST_SENTENCE", "Sentence", "sentences_of"]
