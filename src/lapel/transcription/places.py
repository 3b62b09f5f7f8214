"""The places of a lane in one worker, and which worlds may have another one."""

from __future__ import annotations

from collections import Counter


class Places:
    """Counts the steps that each world has under way, in `number` places.

    A world gets another place only while more places are free than it has: the dynamic threshold of Choudhury
    and Hahne (IEEE/ACM Transactions on Networking, 1998), made for memory that queues share. One world alone
    gets half of the places, the next one half of the rest, and the last place goes to a world that has none.
    So steps that hang leave room for other worlds, and no limit per world has to be chosen.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._held = Counter[int]()

    @property
    def none_free(self) -> bool:
        """Whether no world at all may have another place."""
        return self._free <= 0

    @property
    def at_their_most(self) -> list[int]:
        """The worlds that get no other place now."""
        return [world_id for world_id, held in self._held.items() if held >= self._free]

    def take(self, world_id: int) -> None:
        """One place is this world's, until it is given back."""
        self._free -= 1
        self._held[world_id] += 1

    def give_back(self, world_id: int) -> None:
        """A place of this world is free again."""
        self._free += 1
        self._held[world_id] -= 1
        if not self._held[world_id]:  # or the worlds of all time would stay
            del self._held[world_id]
