"""How much audio a world may have transcribed in a day: counted once for each transcription, when it is known
how long its audio is, in the transaction that lets it go on."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lapel.foundation.errors import RateLimitExceeded
from lapel.transcription import daily_audio_queries

if TYPE_CHECKING:
    from lapel.foundation.database import Connection

_HOUR_MS = 3_600_000
_MOST_OF_ALL = 2**53 - 1  # what an answer can tell
_KEPT = timedelta(days=31)


class DailyAudio:
    """Counts milliseconds per world and UTC day. `hours`: the most of a day; 0 is no limit."""

    def __init__(self, hours: int) -> None:
        self._hours = hours

    async def take(self, connection: Connection, world_id: int, duration_ms: int, now: datetime) -> bool:
        """Whether the day has room for so much more audio, which is counted then."""
        day = now.astimezone(UTC).date()
        most = self._hours * _HOUR_MS or _MOST_OF_ALL
        await daily_audio_queries.forget(connection, world_id, day - _KEPT)
        return await daily_audio_queries.take(connection, world_id, day, duration_ms, most)

    async def check(
        self, connection: Connection, world_id: int, duration_ms: int | None, now: datetime
    ) -> None:
        """Raise RateLimitExceeded when `take` would say no; of an unknown length, when nothing is left."""
        if not self._hours:
            return
        used = await daily_audio_queries.used(connection, world_id, now.astimezone(UTC).date())
        left = self._hours * _HOUR_MS - used
        if max(duration_ms or 0, 1) > left:
            ends = _midnight(now)
            raise RateLimitExceeded(
                self.refusal(now),
                headers=(
                    ("Retry-After", str(math.ceil((ends - now).total_seconds()))),
                    ("X-RateLimit-Limit", str(self._hours)),
                    ("X-RateLimit-Remaining", str(max(left, 0) // _HOUR_MS)),
                    ("X-RateLimit-Reset", str(int(ends.timestamp()))),
                ),
            )

    def refusal(self, now: datetime) -> str:
        """The error message, with the time at which the limit ends."""
        return (
            f"This project may have {self._hours} hours of audio transcribed per day (UTC), and too few are"
            f" left today. Ask again after {_midnight(now):%Y-%m-%dT%H:%M:%SZ}."
        )


def _midnight(now: datetime) -> datetime:
    """The next one, in UTC."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=1)
