"""How a model reads what was said: short numbered lines, in which nothing said can begin a line.

A label for every value of every line, as JSON has it, costs more characters than the speech. So a speaker's
label stands where the speaker speaks first, as a JSON string, and a letter stands for it afterwards.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

SPOKEN_FORMAT = """\
A line has its number, then who speaks, then "|" and what was said. A letter stands for a speaker, and \
A="Ada" gives the letter its label; a line without a letter goes on with the speaker of the line before; "?" \
is an unknown speaker.
"""

# Line breaks of every kind, and what else no text of speech has.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# No marker of a prompt can stand in speech. The signs that look like them keep the text readable.
_SAID = str.maketrans({"<": "\u2039", ">": "\u203a"})
# Inside of JSON strings only; a reader of JSON sees the same text.
_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\x7f": "\\u007f", "\x85": "\\u0085"}
    | {"\u2028": "\\u2028", "\u2029": "\\u2029"}
)
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def json_line(value: Mapping[str, object] | str) -> str:
    """A value as JSON in which neither `<` nor `>` nor a line break stands."""
    return msgspec.json.encode(value).decode().translate(_ESCAPES)


class SpokenLines:
    """Writes the lines of one prompt, in order: who spoke before decides what a line must say."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}
        self._before: str | None = None

    def head(self, about: Mapping[str, object]) -> str:
        """A line about the recording whose lines follow. Its speakers get their letters anew."""
        self._letters = {}
        self._before = None
        return f"recording {json_line(about)}"

    def line(self, number: int, speaker: str | None, text: str, start_ms: int | None = None) -> str:
        """What was said under a number. `speaker`: the label; None if unknown. `start_ms`: its start in the
        recording, if the model shall know it."""
        parts = [str(number)]
        who = self._who(speaker)
        if who:
            parts.append(who)
        if start_ms is not None:
            parts.append(f"{start_ms // 60_000}:{start_ms // 1000 % 60:02d}")
        return f"{' '.join(parts)}| {_CONTROLS.sub(' ', text).translate(_SAID)}"

    def _who(self, speaker: str | None) -> str:
        """What a line says about its speaker: nothing if it is the one of the line before."""
        before, known = self._before, self._letters.get(speaker or "")
        if speaker is None:
            self._before = who = "?"
        elif known is None:
            self._before = self._letter_for(speaker)
            who = f"{self._before}={json_line(speaker)}"
        else:
            self._before = who = known
        return "" if self._before == before else who

    def _letter_for(self, speaker: str) -> str:
        """A letter that no other speaker has: A to Z, then A1 to Z1, and so on."""
        turn, place = divmod(len(self._letters), len(_LETTERS))
        self._letters[speaker] = letter = _LETTERS[place] + (str(turn) if turn else "")
        return letter
