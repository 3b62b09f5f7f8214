"""One line a minute and process tells of a database or a store that is away, however many parts notice that.

Requests, jobs, listeners and loops all fail when the database does. At level debug, each of them is logged.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import structlog

# Seconds from one line to the next.
_BETWEEN = 60.0
# Seconds: a request waits for the database before it is answered 503.
_RECENT = 20.0


class Outages:
    """The lines of one process about a part that is away: the database or the store."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: monotonic seconds."""
        self._clock = clock
        self._told: float | None = None
        self._noticed: float | None = None
        self._unlogged = 0

    def tell(
        self, log: structlog.stdlib.BoundLogger, event: str, error: BaseException, **fields: object
    ) -> None:
        """Log that the part is away, unless a line of the last minute says so.

        The line has the number of failures since the line before that were not logged (`unlogged`).
        """
        unlogged = self.admit()
        if unlogged is None:
            log.debug(event, error=repr(error), **fields)
        else:
            log.warning(event, error=repr(error), unlogged=unlogged, **fields)

    def admit(self) -> int | None:
        """Count a failure. Returns how many failures have no line since the line before, if this one may have
        a line; else None."""
        self._noticed = now = self._clock()
        if self._told is not None and now - self._told < _BETWEEN:
            self._unlogged += 1
            return None
        unlogged, self._told, self._unlogged = self._unlogged, now, 0
        return unlogged

    def is_recent(self) -> bool:
        """Whether a failure was noticed within the last seconds, so that 503 answers have this cause."""
        return self._noticed is not None and self._clock() - self._noticed < _RECENT


# What notices that the database, or the store, is away, in this process.
OUTAGES, STORE_OUTAGES = Outages(), Outages()
