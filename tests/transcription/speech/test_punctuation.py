"""A mark that ends a sentence does so wherever a transcript is cut: into segments, subtitles and passages."""

from __future__ import annotations

import pytest

from lapel.slices.search.service import sentence_ends
from lapel.slices.transcription.exports.wrapping import pieces
from lapel.slices.transcription.speech.punctuation import CLAUSE_ENDS, SENTENCE_ENDS


@pytest.mark.parametrize("mark", ".!?…؟।॥۔።፧։。！？｡။។៕．")
@pytest.mark.parametrize("closing", ["", "”", "」", ")"])
def test_the_end_of_a_sentence(mark: str, closing: str) -> None:
    sentence = f"Words{mark}{closing}"
    assert SENTENCE_ENDS.search(sentence)
    assert not CLAUSE_ENDS.search(sentence)
    assert pieces(f"{sentence} More")[0].ending == 2
    assert sentence_ends(f"Some words{mark}\nMore") == [11]


@pytest.mark.parametrize("mark", ",;:—–،؛、，；：")
def test_the_end_of_a_clause(mark: str) -> None:
    clause = f"Words{mark}"
    assert CLAUSE_ENDS.search(clause)
    assert not SENTENCE_ENDS.search(clause)
    assert pieces(f"{clause} more")[0].ending == 1
