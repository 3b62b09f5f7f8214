"""Estimates the tokens of a text, for windows and budgets."""

from __future__ import annotations

import re

# Scripts in which a character is about a token, or more: all that is neither Latin, Greek nor Cyrillic.
_DENSE = re.compile("[\u0530-\u1dff\u2e80-\U0010ffff]")
_RARE = re.compile("[^\x00-\x7f]")


def estimated_tokens(text: str) -> int:
    """A number of tokens that no usual tokenizer exceeds with ordinary text; about 1.3 times the truth.

    A token has at least 3 characters of English, 2 of other text in an alphabet, and half a character of
    Chinese, Japanese, Korean, Thai, Hindi, Arabic and similar scripts.
    """
    dense = len(_DENSE.findall(text))
    rare = len(_RARE.findall(text)) - dense
    return dense * 2 + rare + (len(text) - dense - rare + 2) // 3
