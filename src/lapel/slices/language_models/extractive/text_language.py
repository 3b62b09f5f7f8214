"""The language of a text, by its script and its function words."""

from __future__ import annotations

import re
from collections import Counter

from lapel.foundation.written_text import HAN_AND_KANA, HANGUL, KANA
from lapel.slices.language_models.extractive.function_words import FUNCTION_WORDS

_WORD = re.compile(r"[^\W\d_]+")
_HAN_AND_KANA, _KANA = re.compile(f"[{HAN_AND_KANA}]"), re.compile(f"[{KANA}]")
# A script that nearly always means one language.
_SCRIPTS = {
    "ko": re.compile(f"[{HANGUL}]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "ar": re.compile("[\u0600-\u06ff]"),
    "he": re.compile("[\u0590-\u05ff]"),
    "ru": re.compile("[\u0400-\u04ff]"),
    "el": re.compile("[\u0370-\u03ff]"),
    "hi": re.compile("[\u0900-\u097f]"),
}
# Letters of Persian and Urdu, which Arabic does not have.
_NOT_ARABIC = re.compile("[\u0679\u067e\u0686\u0688\u0691\u0698\u06a9\u06af\u06be\u06c1\u06cc\u06d2]")
_LANGUAGES: dict[str, list[str]] = {}
for _language, _words in FUNCTION_WORDS.items():
    for _word in _words:
        _LANGUAGES.setdefault(_word, []).append(_language)
# Of a word that only one language has.
_POINTS = 840
# A text has a script if this share of its letters is of it; Japanese has this share of syllables.
_SHARE, _SHARE_OF_KANA = 0.3, 0.1
# Who is sure has seen so many words, so large a share of function words, and so many times those of another.
_FEWEST_WORDS, _LEAST_SHARE, _TIMES = 6, 0.1, 1.5
_MOST_CHARACTERS = 20_000
# The names of languages, in languages in which instructions are usually written.
_NAMED = re.compile(
    r"\b(?:english|german|spanish|french|italian|portuguese|dutch|chinese|mandarin|japanese|korean|russian|"
    r"arabic|hindi|translat\w+|englisch\w*|deutsch\w*|spanisch\w*|französisch\w*|übersetz\w*|inglés|alemán|"
    r"español|francés|traduc\w+|anglais|allemand|espagnol|français|tradui\w+)\b|英语|英文|德语|法语|中文|翻译",
    re.IGNORECASE,
)


def language_of(text: str) -> str | None:
    """The language of a text as a primary language tag; None unless it is sure."""
    words, script = _words_and_script(text)
    if script is not None or len(words) < _FEWEST_WORDS:
        return script
    (first, most), (_, next_most) = _hits(words).most_common(2)
    is_sure = most >= _POINTS * max(2, _LEAST_SHARE * len(words)) and most >= _TIMES * next_most
    return first if is_sure else None


def likely_language(text: str) -> str | None:
    """The language that a short text is most likely in; None if nothing shows it."""
    words, script = _words_and_script(text)
    if script is not None:
        return script
    ((first, most),) = _hits(words).most_common(1)
    return first if most else None


def names_a_language(instructions: str) -> bool:
    """Whether instructions may ask for an answer in a certain language."""
    return _NAMED.search(instructions) is not None


def _words_and_script(text: str) -> tuple[list[str], str | None]:
    """The words of the beginning of a text, and the language that its script shows."""
    text = text[:_MOST_CHARACTERS]
    words = [word.casefold() for word in _WORD.findall(text)]
    least = max(_SHARE * sum(map(len, words)), 1)
    found = len(_HAN_AND_KANA.findall(text))
    if found >= least:
        return words, "ja" if len(_KANA.findall(text)) >= _SHARE_OF_KANA * found else "zh"
    language = next((each for each, script in _SCRIPTS.items() if len(script.findall(text)) >= least), None)
    return words, None if language == "ar" and _NOT_ARABIC.search(text) else language


def _hits(words: list[str]) -> Counter[str]:
    """How many of the words are function words of each language; a word of several counts less for each."""
    found: Counter[str] = Counter(dict.fromkeys(FUNCTION_WORDS, 0))
    for word in words:
        for language in (languages := _LANGUAGES.get(word, ())):
            found[language] += _POINTS // len(languages)
    return found
