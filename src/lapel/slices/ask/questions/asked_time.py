"""What a question says about the time of recordings, so that only these are searched.

A time in a question may be that of the recordings ("What did we agree yesterday?"), or one that is talked
about ("When is the visit on Tuesday?"). Only the first kind limits them; where both are possible, nothing is
limited.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Literal

import msgspec

from lapel.slices.ask.questions.period import Period
from lapel.slices.ask.questions.time_expressions import expressions_in
from lapel.slices.ask.questions.time_words import BY_LANGUAGE
from lapel.slices.language_models.extractive.text_language import likely_language

if TYPE_CHECKING:
    from datetime import date

    from lapel.slices.ask.questions.time_expressions import Expression
    from lapel.slices.ask.questions.time_words import TimeWords

# Longer questions are no short questions about a time.
_LONGEST = 500


class AskedTime(msgspec.Struct, frozen=True):
    """Which recordings are meant. `order`: only the newest or the oldest. `counts`: their number is asked.
    `language`: whose words say so."""

    language: str
    period: Period = Period()
    order: Literal["newest", "oldest"] | None = None
    counts: bool = False

    @property
    def is_limited(self) -> bool:
        """Whether it says anything."""
        return self != AskedTime(self.language)


def asked_time(question: str, today: date) -> AskedTime:
    """What a question says about the time of recordings. `today`: where the asker is. A question in a
    language that is not known here says nothing."""
    known = likely_language(question)
    if len(question) <= _LONGEST:
        text = _folded(question)
        for language in [known] if known in BY_LANGUAGE else BY_LANGUAGE:
            found = _asked(text, language, today)
            if found.is_limited:
                return found
    return AskedTime(known or "en")


def _asked(text: str, language: str, today: date) -> AskedTime:
    words = BY_LANGUAGE[language]
    expressions = expressions_in(text, words, today)
    is_coming = _has(words.coming, text, words)
    is_past = _has(words.past, text, words)
    rest = _without(text, expressions)
    counts = not is_coming and _counts(rest, words)
    meant = [each for each in expressions if _is_of_recordings(text, words, each, is_past=is_past or counts)]
    period = Period()
    for each in meant:
        met = period.met(each.period)
        if met.first is None or met.end is None or met.first < met.end:
            period = met
    order = None if counts or (is_coming and not is_past) else _order(rest, words)
    return AskedTime(language, period, order, counts)


def _is_of_recordings(text: str, words: TimeWords, found: Expression, *, is_past: bool) -> bool:
    """Whether a time is that of the recordings, and not one that is talked about. `is_past`: the question is
    about what was said, not about what is or will be."""
    before, behind = text[: found.start].rstrip(), text[found.end :]
    if _ends(words.about, before, words) and not found.is_over:
        return False
    noun = _noun_beside(text, words, found, before, behind)
    return noun if noun is not None else found.is_over or is_past


def _noun_beside(text: str, words: TimeWords, found: Expression, before: str, behind: str) -> bool | None:
    """Whether the time belongs to a noun that is a recording; None if it belongs to no noun."""
    if not words.spaced:
        owned = re.match(r"的(?![是吗呢吧])(\w{1,6})", behind)
        return None if owned is None else re.search(words.recordings, owned[1]) is not None
    owned = re.match(r"'s? (\w+(?: \w+)?)", behind)
    if owned is not None:
        return _has(words.recordings, owned[1], words)
    inner = re.match(rf"(?:{words.of})(?= )", text[found.start : found.end])
    outer = re.search(rf"(?<!\w)(?:{words.of})(?: (?:the|dem|der|den|el|la|le))?$", before)
    if inner is None and outer is None:
        return True if _ends(words.recordings, before, words) else None
    noun = before if outer is None else before[: outer.start()].rstrip()
    if _ends(words.recordings, noun, words):
        return True
    return None if _ends(words.past, noun, words) or not noun else False


def _counts(text: str, words: TimeWords) -> bool:
    between = r"(?:\W+\w+){0,3}?\W*" if words.spaced else r"\w{0,3}?"
    return re.search(rf"(?:{words.how_many}){between}(?:{words.recordings})", text) is not None


def _order(text: str, words: TimeWords) -> Literal["newest", "oldest"] | None:
    for order, forms in (("newest", words.newest), ("oldest", words.oldest)):
        if words.spaced:
            nouns = words.recordings
            found = re.search(rf"(?<!\w)(?:{forms})(?: \w+)? (?:{nouns})(?!\w)", text) or re.search(
                rf"(?<!\w)(?:{nouns}) (?:la |el |le |las |los |les )?(?:{forms})(?!\w)", text
            )
        else:
            found = re.search(rf"(?:{forms})的?\w{{0,3}}?(?:{words.recordings})", text)
        if found is not None:
            return "newest" if order == "newest" else "oldest"
    return None


def _without(text: str, expressions: list[Expression]) -> str:
    """The text without the expressions, of which "last" would be taken for the newest."""
    for each in reversed(expressions):
        text = text[: each.start] + " . " + text[each.end :]
    return text


def _has(forms: str, text: str, words: TimeWords) -> bool:
    return re.search(rf"(?<!\w)(?:{forms})(?!\w)" if words.spaced else forms, text) is not None


def _ends(forms: str, text: str, words: TimeWords) -> bool:
    bounded = rf"(?<!\w)(?:{forms})(?: (?:the|dem|der|den|el|la|le))?$" if words.spaced else rf"(?:{forms})$"
    return re.search(bounded, text) is not None


def _folded(question: str) -> str:
    """In lower case, without accents, with plain apostrophes."""
    plain = unicodedata.normalize("NFKD", question.casefold()).replace("\u2019", "'")
    return " ".join("".join(each for each in plain if not unicodedata.combining(each)).split())
