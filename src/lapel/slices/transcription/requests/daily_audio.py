"""The limit on a world's audio per day.

Each transcription is counted once, in the transaction that ends its probe: then its length is known.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import RateLimitExceeded
from lapel.slices.transcription.requests import daily_audio_queries

if TYPE_CHECKING:
    from datetime import date

    from lapel.foundation.database.connection import Connection

_HOUR_MS = 3_600_000
_MOST_OF_ALL = 2**53 - 1  # the largest integer that JSON readers represent exactly
_KEPT = timedelta(days=31)


class DailyAudio:
    """Counts milliseconds of audio per world and UTC day. `hours`: the limit for a day; 0 is no limit."""

    def __init__(self, hours: int) -> None:
        self._hours = hours

    async def take(self, connection: Connection, world_id: int, duration_ms: int, now: datetime) -> bool:
        """Count `duration_ms` unless the day's limit would be exceeded. Returns whether it was counted."""
        day = _day(now)
        most = self._hours * _HOUR_MS or _MOST_OF_ALL
        await daily_audio_queries.forget(connection, world_id, day - _KEPT)
        return await daily_audio_queries.take(connection, world_id, day, duration_ms, most)

    async def take_for(
        self, connection: Connection, world_id: int, transcription_id: str, duration_ms: int, now: datetime
    ) -> bool:
        """Like `take`. Also stores the counted figure with the transcription's work, so that `give_back` can
        subtract it."""
        if not await self.take(connection, world_id, duration_ms, now):
            return False
        await daily_audio_queries.note(connection, world_id, transcription_id, _day(now), duration_ms)
        return True

    async def check(
        self, connection: Connection, world_id: int, duration_ms: int | None, now: datetime
    ) -> None:
        """Raise RateLimitExceeded if `take` would refuse. An audio of unknown length is refused only if
        nothing is left of the day's limit."""
        if not self._hours:
            return
        used = await daily_audio_queries.used(connection, world_id, _day(now))
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
        """The error message, with the time from which audio is transcribed again."""
        return (
            f"This project may have {self._hours} hours of audio transcribed per day (UTC), and too few are"
            f" left today. Ask again after {_midnight(now):%Y-%m-%dT%H:%M:%SZ}."
        )


async def give_back(connection: Connection, world_id: int, transcription_id: str, now: datetime) -> None:
    """Subtract the audio that was counted today for a transcription that has failed.

    Audio that was counted on an earlier day, or that is transcribed in part, is not given back. The caller
    has locked the transcription's work, and ends this work in the same transaction.
    """
    await daily_audio_queries.give_back(connection, world_id, transcription_id, _day(now))


def _day(now: datetime) -> date:
    return now.astimezone(UTC).date()


def _midnight(now: datetime) -> datetime:
    """The next midnight, in UTC."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=1)
