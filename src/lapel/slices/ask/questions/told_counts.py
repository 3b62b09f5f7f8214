"""The sentence that says how many recordings there are, in five languages."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.slices.ask.questions.period import Period

# By language: without a time, from a day on, until a day, from one to another, of one day; one of each pair
# is for one recording. Days are in the form of ISO 8601, which nobody misreads.
_SENTENCES: Mapping[str, tuple[str, str, str, str, str, str, str]] = {
    "en": (
        "There is 1 recording{time}.",
        "There are {count} recordings{time}.",
        "There are no recordings{time}.",
        " from {first} on",
        " before {end}",
        " from {first} to {last}",
        " of {first}",
    ),
    "de": (
        "Es gibt 1 Aufnahme{time}.",
        "Es gibt {count} Aufnahmen{time}.",
        "Es gibt keine Aufnahmen{time}.",
        " ab dem {first}",
        " von vor dem {end}",
        " vom {first} bis zum {last}",
        " vom {first}",
    ),
    "es": (
        "Hay 1 grabación{time}.",
        "Hay {count} grabaciones{time}.",
        "No hay grabaciones{time}.",
        " desde el {first}",
        " de antes del {end}",
        " del {first} al {last}",
        " del {first}",
    ),
    "fr": (
        "Il y a 1 enregistrement{time}.",
        "Il y a {count} enregistrements{time}.",
        "Il n'y a pas d'enregistrement{time}.",
        " depuis le {first}",
        " d'avant le {end}",
        " du {first} au {last}",
        " du {first}",
    ),
    "zh": (
        "{time}有1个录音。",
        "{time}有{count}个录音。",
        "{time}没有录音。",
        "{first}以来",
        "{end}之前",
        "{first}至{last}",
        "{first}",
    ),
}
_DAY = timedelta(days=1)


def told_count(language: str, count: int, period: Period) -> str:
    """Says how many recordings there are in a period: in English, if the language is not known here."""
    one, many, none, since, until, between, on_day = _SENTENCES.get(language, _SENTENCES["en"])
    sentence = none if count == 0 else one if count == 1 else many
    first, end = period.first, period.end
    if first is None and end is None:
        form = ""
    elif first is None:
        form = until
    elif end is None:
        form = since
    else:
        form = on_day if end - first == _DAY else between
    last = None if end is None else end - _DAY
    return sentence.format(count=count, time=form.format(first=first, end=end, last=last))
