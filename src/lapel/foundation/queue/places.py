"""Shares a number of places between worlds or projects, such as those of a lane in one worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

Holder = TypeVar("Holder", bound=Hashable)


class Places(Generic[Holder]):
    """Counts what each world (or project) has in `number` places, such as its running steps.

    A world gets another place only while more places are free than the world holds. This is the dynamic
    threshold of Choudhury and Hahne (IEEE/ACM Transactions on Networking, 1998), made for memory that queues
    share. The first world gets at most half of the places, the next world half of the rest, and the last
    place goes to a world that holds none. So steps that hang leave room for other worlds, and no limit per
    world has to be chosen.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._held = Counter[Holder]()

    @property
    def none_free(self) -> bool:
        """Whether no place is free for any world."""
        return self._free <= 0

    @property
    def at_their_most(self) -> list[Holder]:
        """The worlds that get no further place now."""
        return [holder for holder, held in self._held.items() if held >= self._free]

    def may_take(self, holder: Holder) -> bool:
        """Whether this world gets a place now."""
        return self._held[holder] < self._free

    def take(self, holder: Holder) -> None:
        """Give this world a place, until `give_back`."""
        self._free -= 1
        self._held[holder] += 1

    def give_back(self, holder: Holder) -> None:
        """Free one place of this world."""
        self._free += 1
        self._held[holder] -= 1
        if not self._held[holder]:  # else the counter would grow with every world ever seen
            del self._held[holder]
