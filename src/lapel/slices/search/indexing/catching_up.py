"""Finds completed transcriptions that are not in the index, those from before the index and any left out, and
those whose words an earlier version has written."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

import asyncpg
import structlog

from lapel.foundation.core.errors import Unavailable
from lapel.slices.search.indexing import index_queries
from lapel.slices.search.passages.search_words import VERSION
from lapel.slices.transcription.service import completed_transcriptions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.search.indexing.transcript_index import TranscriptIndex
    from lapel.slices.transcription.service import CompletedPlace

_BEGIN = (0, "")
_AT_ONCE = 500
# Seconds of one run. A walk that has reached the end begins again after an hour.
_STAY = 20.0
_PAUSE = 3_600.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class CatchingUp:
    """A walk over the completed transcriptions of all worlds, part by part. Its place is in memory only: a
    new worker begins anew, and passes what is in the index at once."""

    def __init__(self, ports: Ports, index: TranscriptIndex) -> None:
        self._ports = ports
        self._index = index
        self._place = _BEGIN
        self._resting_until = 0.0

    async def run(self) -> None:
        """Go on with the walk for some seconds. Raises Unavailable when the database is away."""
        if time.monotonic() < self._resting_until:
            return
        until = time.monotonic() + _STAY
        while time.monotonic() < until:
            async with self._ports.database.acquire() as connection:
                found = await completed_transcriptions(connection, self._place, _AT_ONCE)
            missing, outdated = await self._lacking(found)
            for each in missing:
                await self._write(each, self._add)
            for each in outdated:
                await self._write(each, _renew_words)
            if len(found) < _AT_ONCE:
                self._place, self._resting_until = _BEGIN, time.monotonic() + _PAUSE
                return
            self._place = (found[-1].world_id, found[-1].id)

    async def _lacking(
        self, found: list[CompletedPlace]
    ) -> tuple[list[CompletedPlace], list[CompletedPlace]]:
        """Those that are not in the index, and those with words of an earlier version."""
        worlds: defaultdict[int, list[CompletedPlace]] = defaultdict(list)
        for each in found:
            worlds[each.world_id].append(each)
        missing: list[CompletedPlace] = []
        outdated: list[CompletedPlace] = []
        async with self._ports.database.acquire() as connection:
            for world_id, places in worlds.items():
                recordings = [each.recording_id for each in places]
                rows = await index_queries.find_indexed(connection, world_id, recordings)
                known = {row.recording_id: row.words_version for row in rows}
                missing += [each for each in places if each.recording_id not in known]
                outdated += [each for each in places if known.get(each.recording_id, VERSION) < VERSION]
        return missing, outdated

    async def _add(self, connection: Connection, place: CompletedPlace) -> None:
        await self._index.add(connection, place.world_id, place.id)

    async def _write(
        self, place: CompletedPlace, write: Callable[[Connection, CompletedPlace], Awaitable[None]]
    ) -> None:
        try:
            async with self._ports.database.transaction() as connection:
                await write(connection, place)
        except Unavailable:
            raise
        except asyncpg.ForeignKeyViolationError:  # the recording is deleted meanwhile
            pass
        except Exception as error:  # noqa: BLE001 - one that fails must not stop the others
            _log.error("search.not_indexed", transcription=place.id, exc_info=error)


async def _renew_words(connection: Connection, place: CompletedPlace) -> None:
    await index_queries.renew_words(connection, place.world_id, place.recording_id)
