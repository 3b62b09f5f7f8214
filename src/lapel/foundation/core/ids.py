"""Ids: `prefix_` and 24 base-62 characters, ordered by the time they were made.

The first 8 characters are milliseconds since 1970 (until the year 8888), the other 16 are 94 random bits. If
a process makes two ids in one millisecond, the second id is the first id plus a random number from 1 to
65,536. So the ids of one process sort in the order in which they were made.
"""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta
from threading import Lock
from typing import Protocol

from lapel.foundation.core.base62 import PAIRS, decode, encode
from lapel.foundation.core.clock import EPOCH, Clock

# An id ends in four characters of its own; the others, ids of one millisecond nearly always share.
_OWN = 62**4
_ID = re.compile(r"(?:[a-z]+_)?([0-9A-Za-z]{8})[0-9A-Za-z]{16}\Z")


class Ids(Protocol):
    """The source of new ids."""

    def new(self, prefix: str) -> str:
        """A fresh id, e.g. `rec_0VvP…`."""
        ...


class TimeOrderedIds:
    """The source of ids outside of tests."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._millisecond = -1
        self._high = 0  # the random bits before an id's own characters
        self._own = 0
        # Encoding the part that ids of one millisecond share is most of the work.
        self._shared = ""

    def new(self, prefix: str) -> str:
        """A fresh id; each is greater than the previous one, even if the clock steps back."""
        millisecond = int(self._clock.now().timestamp() * 1000)
        with self._lock:
            if millisecond > self._millisecond:
                self._millisecond = millisecond
                # 94 bits are less than half of 62**16, so that counting up never overflows in practice.
                self._share(*divmod(int.from_bytes(os.urandom(12), "big") >> 2, _OWN))
            else:
                own = self._own + 1 + int.from_bytes(os.urandom(2), "big")
                if own < _OWN:
                    self._own = own
                else:
                    self._share(self._high + 1, own - _OWN)
            shared, own = self._shared, self._own
        first, second = divmod(own, len(PAIRS))
        return f"{prefix}_{shared}{PAIRS[first]}{PAIRS[second]}"

    def _share(self, high: int, own: int) -> None:
        self._high, self._own = high, own
        self._shared = encode(self._millisecond, 8) + encode(high, 12)


def made_at(value: str) -> datetime | None:
    """The time at which an id (prefix optional) was made, by its maker's clock, UTC; None for other text."""
    found = _ID.match(value)
    return None if found is None else EPOCH + timedelta(milliseconds=decode(found[1]))
