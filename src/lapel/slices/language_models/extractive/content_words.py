"""The words of a text that carry its content: for overlaps of a question, a summary or a sentence with what
was said, in any language.

Words are compared by their first letters, because inflections differ in their ends. Text without spaces
(Chinese, Japanese, Thai) is compared by pairs of characters, and so is Korean, whose particles end its words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

import msgspec

from lapel.foundation.written_text import HANGUL, MARKS, UNSPACED, normalized
from lapel.slices.language_models.extractive.function_words import FUNCTION_WORDS

# An apostrophe ends a word: l'eau, Ramona's.
_LETTER = f"(?:[^\\W_]|[{MARKS}])"
_WORD = re.compile(f"{_LETTER}+")
_WITH_APOSTROPHES = re.compile(f"{_LETTER}+(?:['’]{_LETTER}+)*")
_NUMBER = re.compile(r"(?<![_\d])\d+(?:[.,:]\d+)*")
_DECIMAL = re.compile("[,:]")
_LEADING_ZEROS = re.compile(r"^0+(?=\d)")
_UNSPACED = re.compile(f"[{UNSPACED}]+")
# Scripts whose text is compared by pairs of characters.
_PAIRED = re.compile(f"[{UNSPACED}{HANGUL}]+")
_STEM = 5
# Between two words.
_MOST_SPACES = 8
# The share of content words in common from which two texts say the same.
_SAME = 0.8
# They show no support.
_STOP_WORDS = frozenset[str]().union(*FUNCTION_WORDS.values())


class Content(msgspec.Struct, frozen=True):
    """What a text is about. `words`: the beginnings of its content words. `names`: those of them that begin
    with a capital within a sentence. `numbers`: those of `numbers_of`."""

    words: frozenset[str]
    names: frozenset[str]
    numbers: frozenset[str]


def content_of(text: str) -> Content:
    """The content words, names and numbers of a text."""
    plain = normalized(text)
    found = list(_words(plain))
    return Content(
        frozenset(stem for stem, _ in found),
        frozenset(stem for stem, is_name in found if is_name),
        _numbers(plain),
    )


def content_words(text: str) -> list[str]:
    """The beginnings of the content words of a text, with repetitions."""
    return [stem for stem, _ in _words(normalized(text))]


def all_words(text: str) -> frozenset[str]:
    """All words of a text, for texts without content words, such as "yes"."""
    return frozenset(_WORD.findall(normalized(text).casefold()))


def numbers_of(text: str) -> frozenset[str]:
    """The numbers that a text has in digits: no separators of thousands, no leading zeros, and a dot for a
    decimal point and in a time of day."""
    return _numbers(normalized(text))


def say_the_same(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether one text has nearly all content words of the other, or the other of the one."""
    return bool(one and other) and len(one & other) / min(len(one), len(other)) >= _SAME


def word_count(text: str) -> int:
    """The number of words; of text without spaces, half the number of its characters, rounded up."""
    unspaced = sum(map(len, _UNSPACED.findall(text)))
    return len(_WITH_APOSTROPHES.findall(_UNSPACED.sub(" ", text))) + (unspaced + 1) // 2


def _numbers(plain: str) -> frozenset[str]:
    return frozenset(_DECIMAL.sub(".", _LEADING_ZEROS.sub("", each)) for each in _NUMBER.findall(plain))


def _words(plain: str) -> Iterator[tuple[str, bool]]:
    """The beginning of each content word, and whether the word is a name."""
    for run in _PAIRED.findall(plain):
        yield from ((run[at : at + 2], False) for at in range(max(len(run) - 1, 1)))
    spaced = _PAIRED.sub(" ", plain)
    for found in _WORD.finditer(spaced):
        word = found[0]
        lower = word.casefold()
        if lower in _STOP_WORDS or word.isdecimal() or len(word) < 2:
            continue
        yield _stem(lower), word[0].isupper() and _is_within(spaced, found.start())


def _is_within(text: str, place: int) -> bool:
    """Whether the place is within a sentence, not at its beginning."""
    before = text[max(place - _MOST_SPACES, 0) : place].rstrip()
    return bool(before) and before[-1] not in '.?!:„“"»'


@lru_cache(maxsize=50_000)
def _stem(word: str) -> str:
    """The word without accents, cut to its beginning; long words keep more of it."""
    bare = "".join(each for each in unicodedata.normalize("NFD", word) if not unicodedata.combining(each))
    return bare[: max(_STEM, len(bare) - 3)] if len(bare) > _STEM else bare.removesuffix("s") or bare
