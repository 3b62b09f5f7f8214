"""The open tails of all API processes: which world each follows, and with which filter.

A process announces its tails again and again, and at once when another process begins to listen. Each
process forgets a tail that was not announced for a while, because the process that had it may have been
killed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.logs.request_filter import RequestFilter

if TYPE_CHECKING:
    from lapel.foundation.http.protocols import AnsweredRequest

# Every process has at most 64 streams. With more than these tails, the newest are not known everywhere.
_CAPACITY = 4096


class TailNotice(msgspec.Struct, frozen=True):
    """The announcement of a tail: its process sends one when the tail opens, then again and again, and one
    with `ended` when the tail closes."""

    tail: str
    world: int
    filter: RequestFilter
    ended: bool = False


@dataclass(slots=True)
class _KnownTail:
    filter: RequestFilter
    until: float


_decode = msgspec.json.Decoder(TailNotice).decode


class KnownTails:
    """The tails that this process knows of, by their world."""

    def __init__(self, lives: float) -> None:
        """`lives`: seconds for which a tail of another process is known after each announcement."""
        self.lives = lives
        self._count = 0
        self._expires = inf  # no tail is forgotten before this time
        self.by_world: dict[int, dict[str, _KnownTail]] = {}

    def add_own(self, notice: TailNotice) -> None:
        """Add a tail of this process. It stays until `drop`."""
        self._put(notice, inf)

    def hear(self, payload: str) -> None:
        """Add, keep or drop the tail that an announcement names."""
        try:
            notice = _decode(payload)
        except msgspec.DecodeError:  # of another version
            return
        now = time.monotonic()
        self._forget(now)
        known = self.by_world.get(notice.world, {}).get(notice.tail)
        if known is not None and known.until == inf:
            return  # the announcement of a tail of this process
        if notice.ended:
            self.drop(notice.world, notice.tail)
        elif known is not None or self._count < _CAPACITY:
            self._put(notice, now + self.lives)

    def drop(self, world_id: int, tail: str) -> None:
        """Forget a tail."""
        tails = self.by_world.get(world_id, {})
        if tails.pop(tail, None) is not None:
            self._count -= 1
        if not tails:
            self.by_world.pop(world_id, None)

    def has(self, world_id: int, tail: str) -> bool:
        """Whether a tail is known, and was announced lately."""
        known = self.by_world.get(world_id, {}).get(tail)
        return known is not None and known.until >= time.monotonic()

    def matching(self, request: AnsweredRequest) -> list[tuple[str, str]]:
        """The tails that show a request if its shown path begins with their path: (tail, path)."""
        self._forget(time.monotonic())
        actor = request.actor
        tails = self.by_world.get(actor.world_id, {})
        return [
            (tail, known.filter.path)
            for tail, known in tails.items()
            if known.filter.matches_but_path(request.method, request.status, actor)
        ]

    def _put(self, notice: TailNotice, until: float) -> None:
        tails = self.by_world.setdefault(notice.world, {})
        self._count += notice.tail not in tails
        tails[notice.tail] = _KnownTail(notice.filter, until)
        self._expires = min(self._expires, until)

    def _forget(self, now: float) -> None:
        """Forget the tails of all worlds that are no longer announced: a quiet world's take room too."""
        if self._expires >= now:
            return
        for world_id, tails in list(self.by_world.items()):
            for gone in [tail for tail, known in tails.items() if known.until < now]:
                self.drop(world_id, gone)
        self._expires = min(
            (known.until for tails in self.by_world.values() for known in tails.values()), default=inf
        )
