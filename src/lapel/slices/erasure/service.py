"""The erasure ledger: first an entry is written, then its objects are deleted, then the entry closes.

An entry becomes `erased` when a listing of its prefixes is empty. It becomes `closed` when a second listing
is empty too, and no worker has a copy on its disk (copies.py). The second listing begins after the end of the
last upload URL plus a margin. So an upload that was under way at the deletion, but ends before that listing,
leaves no object behind. If an upload is still being sent when the entry closes, its object has no row, so the
reconciler's sweep of the staging prefix deletes the object. An entry need not wait for the ends of download
links, because a link to an erased object answers 404.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.http.input.pagination import page, window
from lapel.foundation.queue import jobs
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.slices.erasure import local_copy_queries, queries
from lapel.slices.erasure.causes import RECONCILE, RETENTION, Cause, RecordingToErase, requested_by
from lapel.slices.erasure.copies import LocalCopies
from lapel.slices.erasure.hold_queries import (
    forget_reasons,
    held,
    is_held,
    knows_hold,
    read_released_hold,
    settle_hold,
)
from lapel.slices.erasure.legal_holds import Holds
from lapel.slices.erasure.outside import hold_lines, ledger_line_queries, ledger_lines
from lapel.slices.erasure.payloads import (
    ERASE_END_USER,
    ERASE_ENTRIES,
    ERASE_RECORDING,
    EraseEndUser,
    EraseEntries,
    EraseRecording,
)
from lapel.slices.erasure.queries import ENTERING, open_end_user
from lapel.slices.erasure.wire import Erasure, ErasurePage, Hold, PlaceHold, Requester

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.erasure.queries import EnteringRow, ErasureRow
    from lapel.slices.erasure.wire import ErasureQuery, State, Subject

__all__ = [
    "ENTERING",
    "HOLDING",
    "RECONCILE",
    "RETENTION",
    "Cause",
    "Erasures",
    "Hold",
    "Holds",
    "LocalCopies",
    "PlaceHold",
    "RecordingToErase",
    "forget_reasons",
    "held",
    "is_held",
    "knows_hold",
    "open_end_user",
    "read_released_hold",
    "requested_by",
    "settle_hold",
]

# The scopes that a key needs to place or release a hold, beside the scope to write the resource. So a key
# that may only delete cannot release a hold first.
HOLDING = ("audit:read",)
# The objects of a deleted resource are gone after this time, even if a worker or the store fails meanwhile.
ERASED_WITHIN = timedelta(hours=24)

MARGIN = timedelta(minutes=15)
_JOB_DELAY = timedelta(seconds=1)  # the deletion of one recording itself begins to erase (`erase_served`)
# If the job of an entry has not finished the entry in this time, the scheduled round takes it over.
_JOB_PATIENCE = timedelta(minutes=5)
_LOOK_AGAIN = timedelta(minutes=1)
_BATCH = 100

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Erasures:
    """Writes the ledger and erases the objects of its entries.

    Methods that open a connection raise Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._closed = 0  # entries since the last line in the log

    async def list(self, actor: Actor, query: ErasureQuery) -> ErasurePage:
        """One page of entries, newest first. Raises InvalidRequest for a bad cursor."""
        asked = window(query, "erasures")
        async with self._ports.database.acquire() as connection:
            rows = await queries.list_page(
                connection,
                actor.world_id,
                asked,
                state=query.state,
                resource_type=query.resource_type,
                resource_id=query.resource_id,
            )
        data, has_more, next_cursor = page(rows, asked, lambda row: _erasure(row, actor.project_id))
        return ErasurePage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def open_recordings(
        self,
        connection: Connection,
        world_id: int,
        recordings: Sequence[RecordingToErase],
        *,
        end_user_id: str | None,
        cause: Cause,
        now: datetime,
        one_job: bool = False,
    ) -> None:
        """Write entries, in the transaction that deletes the recordings or a media of each.

        With `end_user_id`, one job of the end user erases all objects, and with `one_job`, one job of these
        recordings. Otherwise each recording gets a job. A recording that a hold keeps gets none: `resume`
        continues after the release.
        """
        entries = [(self._ports.ids.new("era"), each) for each in recordings]
        await queries.open_recordings(
            connection, world_id, entries, end_user_id, now, now + _JOB_PATIENCE, cause=cause
        )
        await local_copy_queries.tell_holders(connection, world_id, [each.id for each in recordings])
        free = [entry_id for entry_id, each in entries if not each.held]
        if one_job:
            await _enqueue(connection, world_id, free)
        elif end_user_id is None:
            for entry_id in free:
                await jobs.enqueue(
                    connection, ERASE_RECORDING, EraseRecording(world_id, entry_id), after=_JOB_DELAY
                )

    async def goes_on(
        self, connection: Connection, world_id: int, end_user_id: str, now: datetime
    ) -> tuple[datetime, Cause]:
        """Postpone the time at which another worker takes over the deletion of an end user.

        The new time is `_JOB_PATIENCE` after `now`. Returns the time of the end user's deletion, or `now` if
        all recordings are entered; and the cause of the deletion of the end user's recordings.
        """
        deleted = await queries.set_entered(
            connection, world_id, end_user_id, now + _JOB_PATIENCE, last=False
        )
        if deleted is None:
            return now, Cause("end_user_deleted", None, None)
        asker = (deleted.requested_by_kind, deleted.requested_by_id)
        return deleted.created_at, Cause("end_user_deleted", *asker)

    async def find_entering(self, now: datetime) -> list[EnteringRow]:
        """At most `_BATCH` deleted end users whose job was killed between two batches."""
        async with self._ports.database.acquire() as connection:
            return await queries.find_entering(connection, now, _BATCH)

    async def start_end_user(
        self, connection: Connection, world_id: int, end_user_id: str, now: datetime
    ) -> None:
        """Enqueue the erasure of an end user's recordings, once all of them are entered.

        If a hold keeps one of the recordings, the end user's entry waits for its release.
        """
        await queries.set_entered(connection, world_id, end_user_id, now, last=True)
        await queries.set_held(connection, world_id, end_user_id)
        # For a hold on the end user that was released before this last batch.
        await queries.resume_end_user(connection, world_id, end_user_id, now)
        await jobs.enqueue(connection, ERASE_END_USER, EraseEndUser(world_id, end_user_id))

    async def resume(
        self,
        connection: Connection,
        world_id: int,
        recording_ids: Sequence[str],
        end_user_id: str,
        now: datetime,
    ) -> None:
        """Open the entries that no hold keeps any more, in the transaction that deletes their rows.

        The job of the end user then erases the objects.
        """
        await queries.resume(connection, world_id, recording_ids, now, now + _JOB_PATIENCE)
        await jobs.enqueue(connection, ERASE_END_USER, EraseEndUser(world_id, end_user_id))

    async def resume_end_user(
        self, connection: Connection, world_id: int, end_user_id: str, now: datetime
    ) -> None:
        """Open the entry of a deleted end user, once no hold keeps the end user or one of its recordings."""
        if await queries.resume_end_user(connection, world_id, end_user_id, now):
            await jobs.enqueue(connection, ERASE_END_USER, EraseEndUser(world_id, end_user_id))

    async def erase_recording(self, payload: EraseRecording) -> None:
        """The job of one entry. Raises StoreUnavailable when the store is unavailable."""
        await self._advance(payload.world_id, payload.entry_id)

    async def erase_entries(self, payload: EraseEntries) -> None:
        """The job of some entries. Raises StoreUnavailable when the store is unavailable."""
        for entry_id in payload.entry_ids:
            await self._advance(payload.world_id, entry_id)

    async def erase_end_user(self, payload: EraseEndUser) -> None:
        """The job of an end user: erase entry after entry. A repeat skips the entries that are erased.

        Raises StoreUnavailable when the store is unavailable.
        """
        await self.remember_end_user(payload.world_id, payload.end_user_id)
        last = ""
        while True:
            async with self._ports.database.acquire() as connection:
                entries = await queries.find_open_of_end_user(
                    connection, payload.world_id, payload.end_user_id, last, _BATCH
                )
            if not entries:
                break
            for entry_id in entries:
                await self._advance(payload.world_id, entry_id)
            last = entries[-1]
        await self._follow()

    async def remember_end_user(self, world_id: int, end_user_id: str) -> None:
        """Write a line about a deleted end user into the bucket, before its rows and objects are erased.

        The line also stands for the recordings of the end user. While a hold keeps the end user, there is no
        line. Raises StoreUnavailable when the store is unavailable.
        """
        await self._remember(world_id, "end_user", end_user_id)

    async def find_end_user(self, connection: Connection, world_id: int, recording_id: str) -> str | None:
        """The end user of a recording that was deleted with its end user or during a hold; else None."""
        return await queries.find_end_user(connection, world_id, recording_id)

    async def state_of(self, world_id: int, resource_type: Subject, resource_id: str) -> State | None:
        """The state of a deleted resource's entry; None when it has none."""
        async with self._ports.database.acquire() as connection:
            row = await ledger_line_queries.read_state(connection, world_id, resource_type, resource_id)
        return None if row is None else row.state

    async def erase_at_once(self, world_id: int, resource_type: Subject, resource_id: str) -> None:
        """Erase the objects of a deleted recording or media now, unless a hold keeps them.

        Raises StoreUnavailable when the store is unavailable.
        """
        async with self._ports.database.acquire() as connection:
            row = await ledger_line_queries.read_state(connection, world_id, resource_type, resource_id)
        if row is not None:
            await self._advance(world_id, row.id)

    async def erase_served(self, world_id: int, recording_id: str, keys: Sequence[str]) -> None:
        """Erase some objects of a deleted recording before its job. Raises as `erase_at_once`."""
        await self._remember(world_id, "recording", recording_id)
        await self._ports.store.delete_many(keys)
        async with self._ports.database.transaction() as connection:
            row = await ledger_line_queries.read_state(connection, world_id, "recording", recording_id)
            if row is not None:
                await queries.add_erased(connection, world_id, row.id, len(keys))

    async def _remember(self, world_id: int, resource_type: Subject, resource_id: str) -> None:
        async with self._ports.database.acquire() as connection:
            line = await ledger_line_queries.read_line(connection, world_id, resource_type, resource_id)
        if line is not None:
            # Otherwise a reconciliation could erase what a hold keeps, for example of this end user.
            await hold_lines.tell(self._ports, world_id)
            await ledger_lines.write(self._ports.store, line)

    async def run_due(self) -> int:
        """One round over every entry that is due, and every hold whose line in the bucket is missing or old.

        Returns the number of entries. Raises StoreUnavailable when the store is unavailable. The next round
        begins with the other entries.
        """
        await hold_lines.tell(self._ports)
        done, began = 0, self._ports.clock.now()
        while True:
            async with self._ports.database.acquire() as connection:
                due = await queries.find_due(connection, began, _BATCH)
            if not due:
                break
            for entry in due:
                try:
                    await self._advance(entry.world_id, entry.id)
                except StoreUnavailable:
                    # Perhaps the store refuses only this entry. Postpone the entry, so that the next round
                    # begins with the other entries.
                    await self._postpone(entry.world_id, entry.id, self._ports.clock.now() + _LOOK_AGAIN)
                    raise
                except Unavailable:
                    raise
                except Exception as error:  # noqa: BLE001 - one that cannot be erased must not hold up the others
                    _log.error("erasure.stuck", entry=entry.id, exc_info=error)
                    await self._postpone(entry.world_id, entry.id, self._ports.clock.now() + _LOOK_AGAIN)
            done += len(due)
        await self._follow()
        if (closed := self._closed) > 0:
            self._closed = 0
            _log.info("erasure.closed", entries=closed)
        return done

    async def _postpone(self, world_id: int, entry_id: str, until: datetime) -> None:
        async with self._ports.database.transaction() as connection:
            await queries.set_due(connection, world_id, entry_id, until)

    async def _follow(self) -> None:
        async with self._ports.database.transaction() as connection:
            await queries.follow(connection, self._ports.clock.now())

    async def _advance(self, world_id: int, entry_id: str) -> None:
        """Delete the objects of an entry, then move the entry to its next state if it is due."""
        async with self._ports.database.acquire() as connection:
            entry = await queries.read_unfinished(connection, world_id, entry_id)
        if entry is None:
            return
        crash_point("erase:begin")
        if entry.state == "open" and entry.reason != "end_user_deleted":
            await self._remember(world_id, entry.resource_type, entry.resource_id)
            crash_point("erase:remembered")
        listed_at = self._ports.clock.now()
        found = 0
        for prefix in entry.prefixes:
            found += await self._delete_below(world_id, entry_id, prefix)
        if found:
            listed_at = self._ports.clock.now()
            if not await self._empty(entry.prefixes):
                await self._postpone(world_id, entry_id, listed_at + _LOOK_AGAIN)
                return
        no_links_after = entry.links_expire_at + MARGIN
        crash_point("erase:before-close")
        async with self._ports.database.transaction() as connection:
            if entry.state == "open":
                again = max(no_links_after, listed_at) + timedelta(seconds=1)
                await queries.set_erased(connection, world_id, entry_id, listed_at, again)
            elif listed_at > no_links_after:
                if await queries.set_closed(connection, world_id, entry_id, listed_at):
                    self._closed += 1
                else:
                    await queries.set_due(connection, world_id, entry_id, listed_at + _LOOK_AGAIN)
            else:
                await queries.set_due(connection, world_id, entry_id, no_links_after + timedelta(seconds=1))
        crash_point("erase:closed")

    async def _delete_below(self, world_id: int, entry_id: str, prefix: str) -> int:
        """Delete objects page by page, in bounded memory. Returns the number of deleted objects."""
        found = 0
        async for listed in self._ports.store.pages(prefix):
            crash_point("erase:listed")
            await self._ports.store.delete_many([each.key for each in listed])
            crash_point("erase:objects-deleted")
            async with self._ports.database.transaction() as connection:
                await queries.add_erased(connection, world_id, entry_id, len(listed))
            found += len(listed)
        return found

    async def _empty(self, prefixes: Sequence[str]) -> bool:
        for prefix in prefixes:
            async for listed in self._ports.store.pages(prefix):
                if listed:
                    return False
        return True


async def _enqueue(connection: Connection, world_id: int, entry_ids: list[str]) -> None:
    await jobs.enqueue(connection, ERASE_ENTRIES, EraseEntries(world_id, entry_ids))


def _erasure(row: ErasureRow, project_id: str) -> Erasure:
    return Erasure(
        id=row.id,
        project_id=project_id,
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        state=row.state,
        reason=row.reason,
        requested_by=(
            None
            if row.requested_by_kind is None
            else Requester(kind=row.requested_by_kind, id=row.requested_by_id)
        ),
        due_at=(
            None if row.state == "held" else timestamp((row.released_at or row.created_at) + ERASED_WITHIN)
        ),
        objects_erased=row.objects_erased,
        links_expire_at=timestamp(row.links_expire_at),
        created_at=timestamp(row.created_at),
        erased_at=timestamp_or_none(row.first_empty_at),
        closed_at=timestamp_or_none(row.closed_at),
    )
