"""Shares the places of a lane in one worker between worlds."""

from __future__ import annotations

from collections import Counter


class Places:
    """Counts the running steps of each world, in `number` places.

    A world gets another place only while more places are free than the world holds. This is the dynamic
    threshold of Choudhury and Hahne (IEEE/ACM Transactions on Networking, 1998), made for memory that queues
    share. The first world gets at most half of the places, the next world half of the rest, and the last
    place goes to a world that holds none. So steps that hang leave room for other worlds, and no limit per
    world has to be chosen.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._held = Counter[int]()

    @property
    def none_free(self) -> bool:
        """Whether no place is free for any world."""
        return self._free <= 0

    @property
    def at_their_most(self) -> list[int]:
        """Ids of the worlds that get no further place now."""
        return [world_id for world_id, held in self._held.items() if held >= self._free]

    def take(self, world_id: int) -> None:
        """Give this world a place, until `give_back`."""
        self._free -= 1
        self._held[world_id] += 1

    def give_back(self, world_id: int) -> None:
        """Free one place of this world."""
        self._free += 1
        self._held[world_id] -= 1
        if not self._held[world_id]:  # else the counter would grow with every world ever seen
            del self._held[world_id]
