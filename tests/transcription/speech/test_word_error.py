"""Our word error rate against jiwer's, on the same words."""

from __future__ import annotations

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.slices.transcription.speech.word_error import normalised, word_error

WORDS = st.lists(st.sampled_from(["the", "a", "end", "and", "of", "man", "had", "selfish"]), max_size=30)


@given(reference=WORDS.filter(bool), hypothesis=WORDS)
def test_it_is_what_jiwer_says(reference: list[str], hypothesis: list[str]) -> None:
    ours = word_error(" ".join(reference), " ".join(hypothesis))
    theirs = jiwer.wer(" ".join(reference), " ".join(hypothesis))
    assert ours == pytest.approx(theirs)


def test_case_punctuation_and_the_kind_of_apostrophe_are_no_errors() -> None:
    assert word_error("He was not ill-disposed; wasn’t he?", "he was not ill disposed, wasn't he") == 0
    assert normalised("Überall 40.000 €, “ja”!") == ["überall", "40", "000", "ja"]


def test_what_was_invented_can_exceed_the_whole() -> None:
    assert word_error("yes", "yes of course not") == 3
    with pytest.raises(ValueError, match="no words"):
        word_error("...", "yes")
