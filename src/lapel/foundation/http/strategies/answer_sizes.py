"""How large the next answer of an operation will be, learned from its earlier answers to the same world.

A statement that measures an answer before it is made costs every small list a statement. What is learned
costs a look-up: the first large answers of a world are made at once, and the later ones wait for room and for
their turn. A world makes at most as many of the first ones at once as it may hold database connections.
"""

from __future__ import annotations

from collections import OrderedDict

from lapel.foundation.http.input.pagination import MOST_ROWS, PAGE_BYTES

LARGE = 32 * 1024
"""The size in bytes from which an answer is made only when there is room, and in turns."""

# An answer that is smaller than expected changes the expectation by this part, so that a client cannot undo
# it with one small answer between two large ones.
_KEPT = 7 / 8
# Worlds that are remembered, for each operation.
_REMEMBERED = 1024


class AnswerSizes:
    """Remembers the bytes of a row for each world in which an answer of one operation was large.

    An answer that is no list counts as one row.
    """

    def __init__(self) -> None:
        self._of_row: OrderedDict[int, float] = OrderedDict()

    def expected(self, world_id: int, rows: int) -> int:
        """The bytes of an answer with at most so many rows, or 0 if no answer was large.

        A page ends before the row that exceeds `PAGE_BYTES`, but has at least one row.
        """
        of_row = self._of_row.get(world_id, 0)
        return int(min(of_row * rows, max(of_row, PAGE_BYTES)))

    def learn(self, world_id: int, size: int, rows: int) -> None:
        """Note an answer of `size` bytes with so many rows."""
        known = self._of_row.get(world_id)
        if known is None and size <= LARGE:
            return
        of_row = max(size / max(rows, 1), (known or 0) * _KEPT)
        if of_row * MOST_ROWS <= LARGE:  # no page of such rows is large
            self._of_row.pop(world_id, None)
            return
        self._of_row[world_id] = of_row
        if known is None and len(self._of_row) > _REMEMBERED:
            self._of_row.popitem(last=False)
