"""The words by which a text is found: for PostgreSQL's stemmers, and lexemes that are made here.

PostgreSQL stems the words of many languages with spaces; words of the others are also found by their first
letters. Chinese, Japanese, Korean and Thai text, and text of the scripts of Thai's neighbours, is found by
n-grams instead: PostgreSQL knows no words of these.
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
VERSION = 2
"""Of the lexemes. Chunks with those of an earlier version get them anew, in the background."""

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
# What is written with hyphens or without, and groups of digits with spaces or without: e-mail, 555-0199.
_HYPHENS = "\\-\u00ad\u2010-\u2015\u2212"
_JOINED = re.compile(f"[^\\W_]+(?:[{_HYPHENS}][^\\W_]+)+|\\d{{2,}}(?:[ {_HYPHENS}/]\\d{{2,}})+")
_HYPHEN = re.compile(f"[ {_HYPHENS}/]")
# What other spellings leave out: accents, the points of Hebrew and Arabic, the nukta of Indian scripts.
_LEFT_OUT = re.compile("[\u0300-\u036f\u0591-\u05c7\u0640\u064b-\u065f\u0670\u093c\u09bc\u0a3c]")
# Of the Turkish letters, without their marks.
_DOTLESS = str.maketrans("\u0131", "i")
# Hebrew writes "and", "the", "in", "to", "from", "that" and "as" together with the word that follows.
_HEBREW = re.compile("[\u05d5\u05d4\u05d1\u05dc\u05de\u05e9\u05db]{1,2}(?=[\u05d0-\u05ea]{3})")
# PostgreSQL refuses words of 2 KiB; no real word is longer than this many characters.
_LONGEST_WORD = 64
# A word with fewer letters is found by the whole of it only, and a longer one by its first four letters; from
# _LONG on, by its first five: endings have about two letters more than the word that is asked for.
_SHORTEST, _LONG = 5, 7
# The most terms of a query. Each is looked up apart.
_MOST_TERMS = 48


class IndexedWords(msgspec.Struct, frozen=True):
    """The words of a chunk. `words`: for a stemmer, with spaces between. `lexemes`: as they are, likewise."""

    words: str
    lexemes: str


class Term(msgspec.Struct, frozen=True):
    """A word of a query. `words`: for the stemmers, with spaces between, may be empty. `query`: a tsquery of
    its other forms. Each of them is enough."""

    words: str
    query: str


def configuration_of(language: str | None) -> str:
    """The text search configuration for a language tag such as `de` or `pt-BR`."""
    return _CONFIGURATIONS.get((language or "").partition("-")[0].lower(), UNKNOWN)


def indexed_words(text: str, configuration: str) -> IndexedWords:
    """The words of a chunk. `configuration`: of its language."""
    folded = _folded(text)
    lexemes: dict[str, None] = {}
    for pattern, size in _GRAMS:
        for run in pattern.findall(folded):
            lexemes.update(dict.fromkeys(run[at : at + size] for at in range(len(run))))
        folded = pattern.sub(" ", folded)
    words = _split(folded)
    lexemes.update(dict.fromkeys(joined for _, joined in _joined(folded)))
    if not folded.isascii():
        lexemes.update(dict.fromkeys(form for word in words for form in _other_forms(word)))
    if configuration == UNKNOWN:
        lexemes.update(dict.fromkeys(each for word in words for each in _beginnings(_bare(word))))
    return IndexedWords(" ".join(words), " ".join(lexemes))


def terms_of(query: str) -> list[Term]:
    """The terms of a query, each once, at most 48."""
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
    # A part of email as `e-mail` is found where the whole is: were the whole a term of its own, a text with
    # either spelling would lack terms.
    wholes = {part: joined for parts, joined in _joined(folded) for part in parts}
    for word in _split(folded):
        found[_term(word, wholes.get(word))] = None
    return list(found)[:_MOST_TERMS]


def _term(word: str, whole: str | None) -> Term:
    spelled = [*dict.fromkeys([word, *_other_forms(word), whole or word])]
    four_and_five = _beginnings(_bare(word))
    beginning = four_and_five[1:] if len(word) >= _LONG else four_and_five[:1]
    return Term(" ".join(spelled), " | ".join(f"'{each}'" for each in [*spelled, *beginning]))


def _folded(text: str) -> str:
    return normalized(text).lower()


def _split(text: str) -> list[str]:
    return [word[:_LONGEST_WORD] for word in _BETWEEN.split(text) if word]


def _joined(text: str) -> list[tuple[list[str], str]]:
    """What is written with hyphens, or as groups of digits: its parts, and the parts as one word."""
    found = [_HYPHEN.split(each) for each in _JOINED.findall(text)]
    return [(parts, "".join(parts)[:_LONGEST_WORD]) for parts in found]


def _other_forms(word: str) -> list[str]:
    """The word as others write it: José as Jose, and a Hebrew word without the short words before it."""
    if word.isascii():
        return []
    bare = _bare(word)
    prefix = _HEBREW.match(bare)
    forms = [bare] if prefix is None else [bare, *(bare[at:] for at in range(1, prefix.end() + 1))]
    return [each for each in forms if each and each != word]


def _bare(word: str) -> str:
    """The word without accents, points and the like."""
    if word.isascii():
        return word
    parts = unicodedata.normalize("NFKD", word).translate(_DOTLESS)
    return unicodedata.normalize("NFC", _LEFT_OUT.sub("", parts))


def _beginnings(word: str) -> list[str]:
    """The first letters of a word, for its stem in a language without a stemmer. No word has a `~`."""
    if len(word) < _SHORTEST or not word.isalpha():
        return []
    return [f"~{word[:4]}", f"~{word[:5]}"]
