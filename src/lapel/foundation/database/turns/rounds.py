"""Rounds: the order of turns between those who share one thing, such as a model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

# Holders of turns that are remembered.
_REMEMBERED = 1024


class Rounds:
    """Remembers who had a turn, so that the next turn is of the one whose last turn is the longest ago.

    Who takes turns is a path, such as project and world: the project that has waited longest is next, and of
    its worlds the one that has waited longest. So a project with two worlds has no more turns than another.
    """

    def __init__(self) -> None:
        self._turns = 0
        self._last: OrderedDict[tuple[Hashable, ...], int] = OrderedDict()

    def rank(self, path: tuple[Hashable, ...]) -> tuple[int, ...]:
        """The lowest rank is next. A part of a path that had no turn, or is forgotten, has the rank 0."""
        return tuple(self._last.get(path[:length], 0) for length in range(1, len(path) + 1))

    def take(self, path: tuple[Hashable, ...]) -> None:
        """Note a turn."""
        self._turns += 1
        for length in range(1, len(path) + 1):
            self._last[path[:length]] = self._turns
            self._last.move_to_end(path[:length])
        while len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)

    def had_last(self, path: tuple[Hashable, ...]) -> bool:
        """Whether the latest turn was this one's."""
        return bool(self._turns) and self._last.get(path) == self._turns
