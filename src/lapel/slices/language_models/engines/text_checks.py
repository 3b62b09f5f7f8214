"""Checks the text of an answer while it comes: thoughts are left out, an endless answer is noticed."""

from __future__ import annotations

from lapel.slices.language_models.model_failures import ModelFailed

_OPEN, _CLOSE = "<think>", "</think>"
# An answer whose last characters, so many, are at least four times the same text is taken to be endless.
_LOOKED_AT, _TIMES = 2400, 4
# How often it is looked at: after so many more characters.
_STEP = 600
# A token has seldom more characters.
_MOST_OF_TOKEN = 16


class Thoughts:
    """Leaves out the text between `<think>` and `</think>` at the beginning of an answer.

    Some servers of open models send it as part of the answer.
    """

    def __init__(self) -> None:
        self._held = ""
        self._state = "before"

    def without(self, text: str) -> str:
        """What of this piece is answer. A piece that may be part of a mark is held until the next one."""
        if self._state == "after":
            return text
        self._held += text
        if self._state == "before":
            begun = self._held.lstrip()
            if begun.startswith(_OPEN):
                self._state, self._held = "within", begun.removeprefix(_OPEN)
            elif _OPEN.startswith(begun):
                return ""
            else:
                return self._after(self._held)
        _, mark, rest = self._held.partition(_CLOSE)
        if mark:
            return self._after(rest.lstrip())
        self._held = self._held[-len(_CLOSE) :]
        return ""

    def rest(self) -> str:
        """What is held at the end of the answer, if it was no mark."""
        return self._held if self._state == "before" else ""

    def _after(self, text: str) -> str:
        self._held, self._state = "", "after"
        return text


class Growth:
    """The text of an answer so far. `model`: its name in messages; `max_tokens`: the longest answer."""

    def __init__(self, model: str, max_tokens: int) -> None:
        self._model = model
        self._most = max_tokens * _MOST_OF_TOKEN + 1000
        self._pieces: list[str] = []
        self._tail = ""
        self._length = 0
        self._next = _LOOKED_AT

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self._pieces)

    def add(self, text: str) -> None:
        """Add a piece.

        Raises ModelFailed if the text repeats itself again and again, or is far longer than its limit.
        """
        self._pieces.append(text)
        self._length += len(text)
        self._tail = (self._tail + text)[-_LOOKED_AT:]
        if self._length > self._most:
            raise ModelFailed("repetition", f"{self._model} did not stop at the limit of its answer.")
        if self._length >= self._next:
            self._next = self._length + _STEP
            if period(self._tail) <= _LOOKED_AT // _TIMES:
                raise ModelFailed("repetition", f"{self._model} repeated itself without an end.")


def period(text: str) -> int:
    """The smallest number of characters after which the text repeats itself; its length if it never does.

    This is the failure function of Knuth, Morris and Pratt (SIAM Journal on Computing, 1977).
    """
    borders = [0] * len(text)
    border = 0
    for at in range(1, len(text)):
        while border and text[at] != text[border]:
            border = borders[border - 1]
        if text[at] == text[border]:
            border += 1
        borders[at] = border
    return len(text) - border
