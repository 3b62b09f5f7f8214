"""The words by which a text is found: for PostgreSQL's stemmers, and lexemes that are made here.

PostgreSQL stems the words of languages with spaces. Chinese, Japanese, Korean and Thai text, and text of the
scripts of Thai's neighbours, is found by n-grams instead: PostgreSQL knows no words of these.
"""

from __future__ import annotations

import re
import unicodedata

import msgspec

from lapel.foundation.written_text import HAN_AND_KANA, HANGUL, THAI_AND_NEIGHBOURS, normalized

# The text search configurations of PostgreSQL, by the language of a transcript.
_CONFIGURATIONS = {
    "ar": "arabic", "ca": "catalan", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "eu": "basque", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi",
    "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian",
    "nb": "norwegian", "ne": "nepali", "nl": "dutch", "nn": "norwegian", "no": "norwegian",
    "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "sv": "swedish", "ta": "tamil",
    "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
UNKNOWN = "simple"
"""The configuration of any other language: words as they are, also the frequent ones."""

# Everything but letters, digits and their marks, as far as speech has it.
_BETWEEN = re.compile(
    "[\\s\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\xa9\xab-\xb1\xb4\xb6-\xb8\xbb\xbf\u02c2-\u02df\u037e\u0387\u055a-\u055f"
    "\u060c\u061b\u061f\u066a-\u066d\u06d4\u0964\u0965\u0e2f\u0e4f\u0e5a\u0e5b\u104a-\u104f\u17d4-\u17da"
    "\u2000-\u2bff\u3000-\u3004\u3007-\u3020\u30fb\ufe10-\ufe6f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40"
    "\uff5b-\uff65\U0001f000-\U0001faff]+"
)
# Chinese, Japanese and Korean: two characters; Thai, Lao, Burmese, Khmer: three, as these are letters.
_PAIRS = re.compile(f"[{HAN_AND_KANA}{HANGUL}]+")
_TRIPLES = re.compile(f"[{THAI_AND_NEIGHBOURS}]+")
_GRAMS = ((_PAIRS, 2), (_TRIPLES, 3))
# PostgreSQL refuses words of 2 KiB; no real word is longer than this many characters.
_LONGEST_WORD = 64
# The most terms of a query. Each is looked up apart.
_MOST_TERMS = 48


class IndexedWords(msgspec.Struct, frozen=True):
    """The words of a chunk. `words`: for a stemmer, with spaces between. `lexemes`: as they are, likewise."""

    words: str
    lexemes: str


class Term(msgspec.Struct, frozen=True):
    """A word of a query. `word`: for the stemmers, may be empty. `query`: a tsquery of its other forms."""

    word: str
    query: str


def configuration_of(language: str | None) -> str:
    """The text search configuration for a language tag such as `de` or `pt-BR`."""
    return _CONFIGURATIONS.get((language or "").partition("-")[0].lower(), UNKNOWN)


def indexed_words(text: str) -> IndexedWords:
    """The words of a chunk."""
    folded = _folded(text)
    lexemes: dict[str, None] = {}
    for pattern, size in _GRAMS:
        for run in pattern.findall(folded):
            lexemes.update(dict.fromkeys(run[at : at + size] for at in range(len(run))))
        folded = pattern.sub(" ", folded)
    words = _split(folded)
    if not folded.isascii():
        lexemes.update((bare, None) for word in words if (bare := _bare(word)) and bare != word)
    return IndexedWords(" ".join(words), " ".join(lexemes))


def terms_of(query: str) -> list[Term]:
    """The terms of a query, each once, at most 48. The forms of a term are joined by *or*."""
    folded = _folded(query)
    found: dict[Term, None] = {}
    for pattern, size in _GRAMS:
        for run in pattern.findall(folded):
            if len(run) < size:
                found[Term("", f"'{run}':*")] = None
            else:
                grams = (run[at : at + size] for at in range(len(run) - size + 1))
                found.update((Term("", f"'{gram}'"), None) for gram in grams)
        folded = pattern.sub(" ", folded)
    for word in _split(folded):
        bare = _bare(word)
        found[Term(word, f"'{bare}'" if bare else "")] = None
    return list(found)[:_MOST_TERMS]


def _folded(text: str) -> str:
    return normalized(text).lower()


def _split(text: str) -> list[str]:
    return [word[:_LONGEST_WORD] for word in _BETWEEN.split(text) if word]


def _bare(word: str) -> str:
    """The word without accents: the name José is also found as Jose."""
    if word.isascii():
        return word
    parts = unicodedata.normalize("NFKD", word)
    return "".join(each for each in parts if not "\u0300" <= each <= "\u036f")
