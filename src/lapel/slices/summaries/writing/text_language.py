"""The language of a text, by its script and its function words.

It is for one question: is a summary in the language of its transcript? So it says nothing unless it is sure.
"""

from __future__ import annotations

import re
from collections import Counter

_WORD = re.compile(r"[^\W\d_]+")
_SCRIPTS = {
    "ja": re.compile("[\u3040-\u30ff]"),
    "ko": re.compile("[\uac00-\ud7af]"),
    "zh": re.compile("[\u4e00-\u9fff]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "ar": re.compile("[\u0600-\u06ff]"),
    "he": re.compile("[\u0590-\u05ff]"),
    "ru": re.compile("[\u0400-\u04ff]"),
    "el": re.compile("[\u0370-\u03ff]"),
    "hi": re.compile("[\u0900-\u097f]"),
}
_MARKS = {
    "en": "the and is of to that was with for this are have will they you not it we from be but were would",
    "de": "der die das und ist nicht ein eine mit für auf dem den von zu wir sie ich es auch werden wird "
    "dass",
    "es": "el los las que y una con para por del está no se lo como pero más son fue su al muy también",
    "fr": "le les des et est une que pour dans pas sur avec nous vous il elle qui au du ce sont été mais",
    "it": "il che di e per non una con sono del della gli è si nel anche come questo ma più lo dei",
    "pt": "o os que e uma para com não do da em um são foi mais como mas por dos das está também",
    "nl": "de het een en van is dat niet op te zijn voor met we ik die er ook maar wordt heeft naar",
}
_WORDS = {language: frozenset(words.split()) for language, words in _MARKS.items()}
# A text has a script if this share of its letters is of it.
_SHARE = 0.3
_FEWEST_WORDS = 6
# The names of languages, in languages in which instructions are usually written.
_NAMED = re.compile(
    r"\b(?:english|german|spanish|french|italian|portuguese|dutch|chinese|mandarin|japanese|korean|russian|"
    r"arabic|hindi|translat\w+|englisch\w*|deutsch\w*|spanisch\w*|französisch\w*|übersetz\w*|inglés|alemán|"
    r"español|francés|traduc\w+|anglais|allemand|espagnol|français|tradui\w+)\b|英语|英文|德语|法语|中文|翻译",
    re.IGNORECASE,
)


def language_of(text: str) -> str | None:
    """The language of a text as a primary language tag; None unless it is sure."""
    text = text[:20_000]
    letters = sum(len(word) for word in _WORD.findall(text))
    if not letters:
        return None
    for language, script in _SCRIPTS.items():
        if len(script.findall(text)) >= _SHARE * letters:
            return language
    words = [word.casefold() for word in _WORD.findall(text)]
    if len(words) < _FEWEST_WORDS:
        return None
    hits = Counter({language: sum(word in known for word in words) for language, known in _WORDS.items()})
    (first, most), (_, next_most) = hits.most_common(2)
    return first if most >= max(2, 0.1 * len(words)) and most >= 1.5 * next_most else None


def names_a_language(instructions: str) -> bool:
    """Whether instructions may ask for an answer in a certain language."""
    return _NAMED.search(instructions) is not None
