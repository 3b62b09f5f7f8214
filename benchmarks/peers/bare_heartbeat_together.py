"""`bare_heartbeat.py`, whose callers share statements and commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers.bare_heartbeat import Bare
from benchmarks.peers.sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import Sequence

_UPSERT = """
INSERT INTO sketch (id, battery_percent, storage_used_mb, storage_total_mb, signal_strength_dbm,
    firmware_version, recording_state, last_heartbeat_at)
SELECT * FROM unnest((SELECT $1::text[]), (SELECT $2::int[]), (SELECT $3::bigint[]), (SELECT $4::bigint[]),
    (SELECT $5::int[]), (SELECT $6::text[]), (SELECT $7::jsonb[]), (SELECT $8::timestamptz[])) AS asked (id)
ORDER BY id
ON CONFLICT (id) DO UPDATE SET battery_percent = excluded.battery_percent,
    storage_used_mb = excluded.storage_used_mb, storage_total_mb = excluded.storage_total_mb,
    signal_strength_dbm = excluded.signal_strength_dbm, firmware_version = excluded.firmware_version,
    recording_state = excluded.recording_state, last_heartbeat_at = excluded.last_heartbeat_at
"""


class BareTogether(Bare):
    """The ASGI application."""

    def __init__(self) -> None:
        super().__init__()
        self._sharing = Sharing(self._store)

    async def store(self, row: tuple[object, ...]) -> None:
        """Store one heartbeat."""
        await self._sharing.ask(row)

    async def _store(self, rows: Sequence[tuple[object, ...]]) -> list[None]:
        latest = {row[0]: row for row in rows}  # a device that is there twice
        await self.pool.execute(_UPSERT, *map(list, zip(*latest.values(), strict=True)))
        return [None] * len(rows)


app = BareTogether()
