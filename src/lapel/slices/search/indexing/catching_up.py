"""Finds completed transcriptions that are not in the index: those from before the index, and any left out."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

import asyncpg
import structlog

from lapel.foundation.core.errors import Unavailable
from lapel.slices.search.indexing import index_queries
from lapel.slices.transcription.service import completed_transcriptions

if TYPE_CHECKING:
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
            for each in await self._missing(found):
                await self._add(each)
            if len(found) < _AT_ONCE:
                self._place, self._resting_until = _BEGIN, time.monotonic() + _PAUSE
                return
            self._place = (found[-1].world_id, found[-1].id)

    async def _missing(self, found: list[CompletedPlace]) -> list[CompletedPlace]:
        worlds: defaultdict[int, list[CompletedPlace]] = defaultdict(list)
        for each in found:
            worlds[each.world_id].append(each)
        missing: list[CompletedPlace] = []
        async with self._ports.database.acquire() as connection:
            for world_id, places in worlds.items():
                recordings = [each.recording_id for each in places]
                known = set(await index_queries.find_indexed(connection, world_id, recordings))
                missing += [each for each in places if each.recording_id not in known]
        return missing

    async def _add(self, place: CompletedPlace) -> None:
        try:
            async with self._ports.database.transaction() as connection:
                await self._index.add(connection, place.world_id, place.id)
        except Unavailable:
            raise
        except asyncpg.ForeignKeyViolationError:  # the recording is deleted meanwhile
            pass
        except Exception as error:  # noqa: BLE001 - one that fails must not stop the others
            _log.error("search.not_indexed", transcription=place.id, exc_info=error)
