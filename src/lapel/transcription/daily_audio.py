"""How much audio a world may have transcribed in a day: counted once for each transcription, when it is known
how long its audio is, in the transaction that lets it go on."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lapel.foundation.errors import RateLimitExceeded
from lapel.transcription import daily_audio_queries

if TYPE_CHECKING:
    from datetime import date

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
        day = _day(now)
        most = self._hours * _HOUR_MS or _MOST_OF_ALL
        await daily_audio_queries.forget(connection, world_id, day - _KEPT)
        return await daily_audio_queries.take(connection, world_id, day, duration_ms, most)

    async def take_for(
        self, connection: Connection, world_id: int, transcription_id: str, duration_ms: int, now: datetime
    ) -> bool:
        """The same, noted with the transcription's work so that it can be given back."""
        if not await self.take(connection, world_id, duration_ms, now):
            return False
        await daily_audio_queries.note(connection, world_id, transcription_id, _day(now), duration_ms)
        return True

    async def check(
        self, connection: Connection, world_id: int, duration_ms: int | None, now: datetime
    ) -> None:
        """Raise RateLimitExceeded when `take` would say no; of an unknown length, when nothing is left."""
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
        """The error message, with the time at which the limit ends."""
        return (
            f"This project may have {self._hours} hours of audio transcribed per day (UTC), and too few are"
            f" left today. Ask again after {_midnight(now):%Y-%m-%dT%H:%M:%SZ}."
        )


async def give_back(connection: Connection, world_id: int, transcription_id: str, now: datetime) -> None:
    """A transcription has failed and is not to be paid for: what was counted for it today counts no more.

    The caller holds its work, and ends that in the same transaction. Nothing is given back of an earlier day,
    nor of an audio of which a part was transcribed.
    """
    await daily_audio_queries.give_back(connection, world_id, transcription_id, _day(now))


def _day(now: datetime) -> date:
    return now.astimezone(UTC).date()


def _midnight(now: datetime) -> datetime:
    """The next one, in UTC."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=1)
