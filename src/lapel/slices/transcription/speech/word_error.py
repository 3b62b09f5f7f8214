"""Word error rate of a transcript, against a text that is known to be right."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def normalised(text: str) -> list[str]:
    """The words in lower case, without punctuation; apostrophes within words are kept, all as `'`."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [word.replace("’", "'") for word in _WORD.findall(folded)]


def word_error(reference: str, hypothesis: str) -> float:
    """Word error rate: the fewest words to replace, insert or remove, per word of the reference.

    0 is perfect. The rate exceeds 1 if many words were invented. The run time grows with the product of both
    lengths, so use this for thousands of words, not for days of speech. Raises ValueError if the reference
    has no words.
    """
    right, told = normalised(reference), normalised(hypothesis)
    if not right:
        raise ValueError("the reference has no words")
    row = list(range(len(told) + 1))
    for number, word in enumerate(right, start=1):
        diagonal, row[0] = row[0], number
        for column, other in enumerate(told, start=1):
            cheapest = min(row[column] + 1, row[column - 1] + 1, diagonal + (word != other))
            diagonal, row[column] = row[column], cheapest
    return row[-1] / len(right)
