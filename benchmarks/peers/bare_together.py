"""`bare.py`, whose callers share statements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers.bare import Bare
from benchmarks.peers.sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

_FIND = """
SELECT asked.place, m.object_key, m.content_type, m.file_size_bytes, m.status, r.name
FROM unnest((SELECT $1::bigint[]), (SELECT $2::text[]), (SELECT $3::text[]))
    WITH ORDINALITY AS asked (world_id, recording_id, media_id, place)
JOIN media m ON m.world_id = asked.world_id AND m.recording_id = asked.recording_id AND m.id = asked.media_id
JOIN recordings r ON r.world_id = m.world_id AND r.id = m.recording_id
"""


class BareTogether(Bare):
    """The ASGI application."""

    def __init__(self) -> None:
        super().__init__()
        self._sharing = Sharing(self._find)

    async def find(self, world_id: int, recording_id: str, media_id: str) -> asyncpg.Record | None:
        """The media of one request."""
        return await self._sharing.ask((world_id, recording_id, media_id))

    async def _find(self, asked: Sequence[tuple[int, str, str]]) -> list[asyncpg.Record | None]:
        found: list[asyncpg.Record | None] = [None] * len(asked)
        for row in await self.pool.fetch(_FIND, *map(list, zip(*asked, strict=True))):
            found[row["place"] - 1] = row
        return found


app = BareTogether()
