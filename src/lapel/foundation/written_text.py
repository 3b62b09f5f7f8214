"""How languages are written: scripts without spaces between words, marks that end sentences and clauses, and
numbers with separators.

The constants are characters, or ranges of them, for a character class of a regular expression.
"""

from __future__ import annotations

import re
import unicodedata

THAI_AND_NEIGHBOURS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
"""Thai, Lao, Burmese and Khmer: no spaces between words, and letters."""

HAN_AND_KANA = (
    "\u3005\u3006\u3021-\u30fa\u30fc-\u312f\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Chinese and Japanese: no spaces between words."""

KANA = "\u3040-\u30ff"
"""Japanese syllables."""

HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"
"""Korean: spaces between words, but particles are written with the word before."""

MARKS = (
    "\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f\u0670"
    "\u0900-\u0903\u093a-\u094f\u0951-\u0963\u0980-\u0dff"
)
"""What belongs to the letter before it, and is no letter itself for Python: accents, points of Hebrew and
Arabic, vowel signs of Indian scripts (with the letters of those after Devanagari)."""

UNSPACED = THAI_AND_NEIGHBOURS + HAN_AND_KANA
"""The scripts that are written without spaces between words."""

SPACED_STOPS = ".!?…؟।॥۔።፧։"
"""The marks that end a sentence in scripts with spaces between words."""

UNSPACED_STOPS = "。！？｡။។៕．"
"""Those of scripts without."""

SENTENCE_MARKS = SPACED_STOPS + UNSPACED_STOPS
"""All marks that end a sentence."""

CLAUSE_MARKS = ",;:—–،؛、，；："
"""The marks that end a clause."""

CLOSING_MARKS = "\"'”’»›)\\]」』）》〉"
"""Quotes and brackets that may follow these marks."""

# With the punctuation and the full-width forms that text of these scripts has.
_UNSPACED = re.compile(f"[{UNSPACED}\u3000-\u303f\u30fb\uff00-\uffef]")
_THOUSANDS = re.compile("(?<=\\d)[,.'\u2019\u00a0\u202f](?=\\d{3}(?!\\d))")


def is_unspaced(character: str) -> bool:
    """Whether text of the character's script has no spaces between words; also of its punctuation."""
    return _UNSPACED.match(character) is not None


def normalized(text: str) -> str:
    """The text in the form NFKC, with numbers without separators of thousands: 40,000 and 40'000 and 40.000
    are one number."""
    # Narrow spaces go before NFKC, which makes plain spaces of them; separators of full width go after it.
    return _THOUSANDS.sub("", unicodedata.normalize("NFKC", _THOUSANDS.sub("", text)))
