"""Divides a text into pieces of the vocabulary: SentencePiece's unigram model, as XLM-RoBERTa uses it.

A text is divided so that the sum of the scores of its pieces is as large as possible (Viterbi's algorithm).
No piece goes beyond a word: in the vocabulary, spaces are only at the beginnings of pieces.

Source: Kudo, "Subword Regularization", 2018, https://arxiv.org/abs/1804.10959.
docs/decisions/0028 says why this is our own code.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lapel.slices.embeddings.model.weights_file import Vocabulary

START, END, UNKNOWN = 0, 2, 3
_SPACES = re.compile(" {2,}")
_WORD = re.compile(" [^ ]*")
_UNKNOWN_COSTS = 10.0  # so much less than the lowest score has a character that is in no piece
_NEVER = float("-inf")


class Tokenizer:
    """The vocabulary, ready for look-ups; it takes 40 MB."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._numbers = {piece: number for number, piece in enumerate(vocabulary.pieces) if number != UNKNOWN}
        self._scores = vocabulary.scores
        self._becomes = vocabulary.becomes
        self._longest = max(map(len, self._numbers))
        self._unknown = min(vocabulary.scores) - _UNKNOWN_COSTS

    def pieces(self, text: str, most: int) -> list[int]:
        """The numbers of the pieces of a text, with START and END; the first so many of a longer text."""
        normal = _SPACES.sub(" ", text.translate(self._becomes)).replace("\u2581", " ")
        found = [START]
        for word in _WORD.finditer(normal if normal.startswith(" ") else f" {normal}"):
            found += self._divided(word.group())
            if len(found) >= most:
                break
        return [*found[: most - 1], END]

    def _divided(self, word: str) -> list[int]:
        """The pieces of one word."""
        numbers, scores = self._numbers, self._scores
        best = [0.0] + [_NEVER] * len(word)  # the sum of the scores of the first so many characters
        last = [(0, UNKNOWN)] * (len(word) + 1)  # where the last piece of these begins, and its number
        for start in range(len(word)):
            for end in range(start + 1, min(start + self._longest, len(word)) + 1):
                number = numbers.get(word[start:end])
                if number is not None and best[start] + scores[number] > best[end]:
                    best[end], last[end] = best[start] + scores[number], (start, number)
            if best[start] + self._unknown > best[start + 1]:
                best[start + 1], last[start + 1] = best[start] + self._unknown, (start, UNKNOWN)
        found: list[int] = []
        end = len(word)
        while end:
            end, number = last[end]
            found.append(number)
        return found[::-1]
