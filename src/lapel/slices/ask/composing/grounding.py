"""Checks whether a passage says what a claim says, and at which second.

By words first: enough of the claim's words, and every number, are in the passage. If the words are others, as
after a translation or a paraphrase, the meaning decides, by the embeddings of claim and sentences. A number
that the passage does not have is never supported.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from typing import TYPE_CHECKING, Protocol

from lapel.slices.language_models.extractive.content_words import content_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.slices.ask.composing.passages import Passage
    from lapel.slices.search.service import Sentence

# The share of the claim's words that three sentences of a passage must have, and their number.
LEAST_SHARE = 0.4
LEAST_WORDS = 2
# The least cosine between a claim and a sentence that says the same in other words.
LEAST_COSINE = 0.875
_WINDOW = 3
_MOST_SENTENCES = 60

_WORD = re.compile(r"[^\W\d_]+|\d+(?:[.,:]\d+)*")
_DENSE = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_NUMBER_WORDS = {
    "1": "one first ein eins eine erste ersten uno una primero un une premier première 一",
    "2": "two second zwei zweite zweiten dos segundo deux deuxième 二 两",
    "3": "three third drei dritte dritten tres tercero tercer trois troisième 三",
    "4": "four fourth vier vierte vierten cuatro cuarto quatre quatrième 四",
    "5": "five fifth fünf fünfte fünften cinco quinto cinq cinquième 五",
    "6": "six sixth sechs sechste sechsten seis sexto sixième 六",
    "7": "seven seventh sieben siebte siebten siete séptimo sept septième 七",
    "8": "eight eighth acht achte achten ocho octavo huit huitième 八",
    "9": "nine ninth neun neunte neunten nueve noveno neuf neuvième 九",
    "10": "ten tenth zehn zehnte zehnten diez décimo dix dixième 十",
    "11": "eleven elf once onze 十一",
    "12": "twelve zwölf doce douze 十二",
    "15": "fifteen fünfzehn quince quinze 十五",
    "20": "twenty zwanzig veinte vingt 二十",
    "30": "thirty dreißig treinta trente 三十",
    "40": "forty vierzig cuarenta quarante 四十",
    "50": "fifty fünfzig cincuenta cinquante 五十",
    "60": "sixty sechzig sesenta soixante 六十",
    "100": "hundred hundert cien cent 一百",
    "1000": "thousand tausend mil mille 一千",
}  # fmt: skip
_SPOKEN = {number: tuple(words.split()) for number, words in _NUMBER_WORDS.items()}


class Similarity(Protocol):
    """Vectors of short texts; None if there are none at present."""

    async def sentences(self, texts: Sequence[str]) -> list[bytes] | None: ...


async def supporting_time(claim: str, passage: Passage, similarity: Similarity) -> int | None:
    """The milliseconds at which the passage begins to say the claim; None if it does not say it."""
    known = _about(passage)
    if not _has_numbers(claim, passage, known):
        return None
    wanted = content_of(claim).words
    if not wanted:
        return None
    by_words = _by_words(wanted, passage.sentences, known)
    if by_words is not None:
        return by_words
    return await _by_meaning(claim, passage.sentences, similarity)


def _numbers(text: str) -> frozenset[str]:
    """The numbers of a text, without leading zeros."""
    return frozenset(each.lstrip("0") or "0" for each in content_of(text).numbers)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _about(passage: Passage) -> str:
    """What the model was told of a passage beside its sentences."""
    recorded = "" if passage.recorded_at is None else f"{passage.recorded_at:%Y %m %d}"
    speaker = (passage.speaker or "").replace("_", " ")
    return f"{passage.title or ''} {speaker} {recorded}"


def _has_numbers(claim: str, passage: Passage, known: str) -> bool:
    text = f"{passage.text} {known}"
    missing = _numbers(claim) - _numbers(text)
    if not missing:
        return True
    folded = _folded(text)
    spoken = set(_WORD.findall(folded))
    return all(
        any(word in spoken or (_DENSE.match(word) and word in folded) for word in _SPOKEN.get(each, ()))
        for each in missing
    )


def _by_words(wanted: frozenset[str], sentences: Sequence[Sentence], known: str) -> int | None:
    about = content_of(known).words & wanted
    hits = [content_of(each.text).words & wanted for each in sentences]
    best, place = 0, -1
    for first in range(len(hits)):
        count = len(frozenset[str]().union(*hits[first : first + _WINDOW]))
        if count > best and hits[first]:
            best, place = count, first
    if place < 0:
        return None
    enough = min(LEAST_WORDS, len(wanted))
    if best + len(about) < enough or (best + len(about)) / len(wanted) < LEAST_SHARE:
        return None
    window = range(place, min(place + _WINDOW, len(hits)))
    start = max(window, key=lambda each: (len(hits[each]), -each))
    return sentences[start].start_ms


async def _by_meaning(claim: str, sentences: Sequence[Sentence], similarity: Similarity) -> int | None:
    some = sentences[:_MOST_SENTENCES]
    vectors = await similarity.sentences([claim, *(each.text for each in some)])
    if vectors is None:
        return None
    own, *others = [array("f", each) for each in vectors]
    cosines = [_dot(own, each) for each in others]
    best = max(range(len(cosines)), key=lambda each: cosines[each])
    return some[best].start_ms if cosines[best] >= LEAST_COSINE else None


def _dot(one: array[float], other: array[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
