"""Counts the rows and bytes of a world."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from lapel.foundation.core.clock import timestamp
from lapel.slices.usage import queries, wire

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.ports import Ports

_HOUR_MS = 3_600_000


class UsageMeter:
    """The figures of a world."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def read(self, actor: Actor) -> wire.Usage:
        """Count all end users, devices, recordings and uploaded bytes of the world, and the milliseconds of
        audio and the tokens that count today (UTC) towards the daily limits.

        One SQL statement reads all figures, so they are of one moment.

        Raises Unavailable when counting takes too long or the database is unavailable.
        """
        midnight = self._ports.clock.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        async with self._ports.database.acquire() as connection:
            row = await queries.usage(connection, actor.world_id, midnight.date())
        limit = self._ports.settings.transcription_hours_per_day
        return wire.Usage(
            project_id=actor.project_id,
            end_users=row.end_users,
            devices=row.devices,
            recordings=row.recordings,
            media_bytes=row.media_bytes,
            transcribed_today=wire.TranscribedToday(
                duration_ms=row.transcribed_ms,
                limit_ms=limit * _HOUR_MS if limit else None,
                resets_at=timestamp(midnight + timedelta(days=1)),
            ),
            language_models_today=wire.ModelsToday(
                calls=row.model_calls,
                input_tokens=row.input_tokens,
                output_tokens=row.output_tokens,
                cached_tokens=row.cached_tokens,
                limit_tokens=self._ports.settings.language_tokens_per_day or None,
                cost_usd=row.cost_micros / 1_000_000,
                resets_at=timestamp(midnight + timedelta(days=1)),
            ),
        )
