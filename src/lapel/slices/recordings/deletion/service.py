"""Deletion: after the commit no answer shows the recording, and the erasure job deletes its objects.

Download links that were issued before would serve the objects until then. So the deletion of one recording
also deletes, before its answer, the objects that such links serve, if the store is quick enough.

One transaction writes the tombstone, the ledger entry and the job, and deletes the rows. A completion that is
under way finds no row and deletes its copy. If a legal hold keeps the recording, the transaction hides the
rows instead of deleting them; recording_holds.py deletes them after the release of the hold.

After the deletion of an end user, no answer shows its recordings (access.PRESENT). A job deletes
their rows, one batch per transaction, so that no request waits for a hundred thousand rows. The job deletes
most rows of other slices first. A request that has locked a recording stores its answer and its audit entry
in the same transaction, and the deletion of the recordings waits for this lock. So the job deletes these rows
after the recordings. Only then the ledger entry counts as entered: `run_due` continues a job that died
before.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import asyncpg
import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database import audit
from lapel.foundation.http.input.pagination import BEFORE_ALL
from lapel.foundation.queue import jobs
from lapel.foundation.queue.expected_faults import tell_fault
from lapel.foundation.storage import object_names
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.slices.end_users.service import share
from lapel.slices.erasure.service import RETENTION, RecordingToErase, forget_reasons
from lapel.slices.recordings import events
from lapel.slices.recordings.access import Reach, unknown
from lapel.slices.recordings.deletion import audio_erasure_queries, deletion_queries
from lapel.slices.recordings.deletion.audio_erasure import erase_audio
from lapel.slices.recordings.payloads import DELETE_OF_END_USER, DeleteOfEndUser

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.erasure.service import Cause, Erasures
    from lapel.slices.recordings.deletion.deletion_queries import DeletionRow

# The most recordings of an end user that one transaction deletes. The transaction takes some tenths of a
# second.
_BATCH = 500
# The most rows of other slices that one transaction deletes: more, because fewer rows depend on each of them.
_ROWS = 1000
# Time in which the deletion of a recording may delete what links serve, before it answers.
_SERVED_SECONDS = 2.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class OnDelete(Protocol):
    """A hook with which another slice erases what tells of recordings, in the deleting transaction.

    A legal hold may keep the recordings' rows. So a hook erases only copies, such as events. Rows that belong
    to a recording go with the recording's row, by their foreign keys.
    """

    async def __call__(self, connection: Connection, world_id: int, recording_ids: list[str]) -> None: ...


class EraseSome(Protocol):
    """Removes at most `limit` rows of a deleted end user. Returns their number, 0 when none is left."""

    async def __call__(
        self, connection: Connection, world_id: int, end_user_id: str, limit: int, /
    ) -> int: ...


class LastUploadEnds(Protocol):
    """By recording: when the last upload URL ends that another slice issued, of those that have one."""

    async def __call__(
        self, connection: Connection, world_id: int, recording_ids: list[str], /
    ) -> Mapping[str, datetime]: ...


class Deletion:
    """Deletes one recording, or all recordings and all other rows of an end user."""

    def __init__(
        self,
        ports: Ports,
        erasures: Erasures,
        on_delete: Sequence[OnDelete] = (),
        of_end_user: Sequence[EraseSome] = (),
        last_of_end_user: Sequence[EraseSome] = (),
        last_upload_ends: Sequence[LastUploadEnds] = (),
    ) -> None:
        """Hooks that remove the other rows of a deleted end user, called in this order: `of_end_user` before
        the recordings are deleted, and `last_of_end_user` after that."""
        self._ports = ports
        self._erasures = erasures
        self._on_delete = on_delete
        self._of_end_user = of_end_user
        self._last_of_end_user = last_of_end_user
        self._last_upload_ends = last_upload_ends

    async def delete(self, at: Reach, cause: Cause, actor: Actor | None = None) -> None:
        """Delete a recording; the ledger keeps the `cause`, the audit log the `actor`; None: the operator.

        Raises NotFound when `at` reaches no recording, and Unavailable when the database fails.
        """
        async with self._ports.database.transaction() as connection:
            rows = await self._lock(connection, at)
            if not rows:
                raise unknown()
            held = rows[0].held
            served = (
                [] if held else await deletion_queries.find_served(connection, at.world_id, at.recording_id)
            )
            crash_point("delete:locked")
            now = self._ports.clock.now()
            await self._delete_rows(connection, at.world_id, rows, cause, now)
            await audit.record(
                connection,
                self._ports.ids,
                now,
                worlds=[at.world_id],
                actor=actor,
                change=audit.happened("recording.deleted", at.recording_id),
                about=rows[0].end_user_id,
            )
            crash_point("delete:before-commit")
        crash_point("delete:committed")
        if served:
            await self._erase_served(at, served)

    async def _erase_served(self, at: Reach, keys: Sequence[str]) -> None:
        """Erase what links serve. The recording is deleted: if this fails, the job erases the objects."""
        try:
            async with asyncio.timeout(_SERVED_SECONDS):
                await self._erasures.erase_served(at.world_id, at.recording_id, keys)
                crash_point("delete:objects-deleted")
        except (StoreUnavailable, Unavailable, TimeoutError) as error:
            tell_fault(_log, "deletion.objects_left", error, recording=at.recording_id)

    async def _lock(self, connection: Connection, at: Reach) -> list[DeletionRow]:
        """Lock the end user, then the recording, so that a hold on either comes before or after."""
        end_user_id = await deletion_queries.read_end_user(connection, at)
        if end_user_id is None:
            return []
        await share(connection, at.world_id, end_user_id)
        return await deletion_queries.lock_one(connection, at)

    async def find_present(self, world_id: int, recording_ids: Sequence[str]) -> list[str]:
        """Those of these recordings that are not deleted. Raises Unavailable when the database fails."""
        async with self._ports.database.acquire() as connection:
            return await deletion_queries.find_present(connection, world_id, recording_ids)

    async def find_world(self, recording_id: str) -> int | None:
        """For the operator: the world of a recording that is not deleted. Raises Unavailable."""
        async with self._ports.database.acquire() as connection:
            return await deletion_queries.find_world(connection, recording_id)

    async def find_present_audio(
        self, world_id: int, audio: Sequence[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        """Those of these audio that are there; each is (recording, media). Raises Unavailable."""
        recording_ids, media_ids = [each for each, _ in audio], [each for _, each in audio]
        async with self._ports.database.acquire() as connection:
            rows = await audio_erasure_queries.find_present_audio(
                connection, world_id, recording_ids, media_ids
            )
        return [(row.recording_id, row.id) for row in rows]

    async def erase_audio(self, world_id: int, recording_id: str, cause: Cause) -> bool:
        """Erase the audio of a recording, unless a legal hold keeps it. Whether it is erased.

        Raises NotFound when there is no such recording, and Unavailable when the database fails.
        """
        async with self._ports.database.transaction() as connection:
            rows = await self._lock(connection, Reach(world_id, recording_id))
            if not rows:
                raise unknown()
            free = [row.id for row in rows if not row.held]
            now = self._ports.clock.now()
            return await erase_audio(connection, self._erasures, world_id, free, cause, now) > 0

    async def delete_old(self, connection: Connection, world_id: int, due: list[str], now: datetime) -> int:
        """Delete recordings at the end of their retention. Returns their number.

        The caller has locked their end users and then the recordings, so that a hold on either comes before
        or after. What a hold keeps stays.
        """
        free = await deletion_queries.find_not_held(connection, world_id, due)
        rows = await deletion_queries.read_locked(connection, world_id, free)
        if rows:
            await self._delete_rows(connection, world_id, rows, RETENTION, now, one_job=True)
        return len(rows)

    async def erase_old_audio(
        self, connection: Connection, world_id: int, due: list[str], now: datetime
    ) -> int:
        """Erase the audio of recordings at the end of its retention; the recordings stay.

        As `delete_old`. Returns the number of audio.
        """
        free = await deletion_queries.find_not_held(connection, world_id, due)
        return await erase_audio(connection, self._erasures, world_id, free, RETENTION, now)

    async def start_end_user(
        self, connection: Connection, world_id: int, end_user_id: str, _now: datetime
    ) -> None:
        """Enqueue the deletion of an end user's rows, in the transaction that deletes the end user."""
        await jobs.enqueue(connection, DELETE_OF_END_USER, DeleteOfEndUser(world_id, end_user_id))

    async def delete_of_end_user(self, payload: DeleteOfEndUser) -> None:
        """The job: delete batch after batch. No row of a deleted end user is added meanwhile.

        Raises Unavailable when the database fails, or when a request or a worker has locked a row, and
        StoreUnavailable when the store is unavailable.
        """
        crash_point("delete-all:begin")
        await self._erasures.remember_end_user(payload.world_id, payload.end_user_id)
        last: tuple[datetime, str] | None = BEFORE_ALL
        try:
            await self._erase_others(payload, self._of_end_user)
            while last := await self._delete_batch(payload.world_id, payload.end_user_id, last):
                crash_point("delete-all:batch-committed")
            await self._erase_others(payload, self._last_of_end_user)
            await self._enter(payload.world_id, payload.end_user_id)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            raise Unavailable("A row of the end user is held by a request or a worker.") from error
        crash_point("delete-all:committed")

    async def run_due(self) -> int:
        """Continue deletions whose worker died. Returns the number of end users.

        Raises Unavailable when the database fails.
        """
        due = await self._erasures.find_entering(self._ports.clock.now())
        for each in due:
            world_id, end_user_id = each.world_id, each.resource_id
            try:
                await self.delete_of_end_user(DeleteOfEndUser(world_id, end_user_id))
            except Exception as error:  # noqa: BLE001 - an end user that fails must not stop the others
                _log.error("deletion.stuck", end_user=end_user_id, exc_info=error)
                async with self._ports.database.transaction() as connection:
                    await self._erasures.goes_on(connection, world_id, end_user_id, self._ports.clock.now())
        return len(due)

    async def _erase_others(self, payload: DeleteOfEndUser, hooks: Sequence[EraseSome]) -> None:
        for erase in hooks:
            while await self._erase_batch(payload, erase):
                crash_point("delete-all:batch-committed")

    async def _erase_batch(self, payload: DeleteOfEndUser, erase: EraseSome) -> int:
        async with self._ports.database.transaction() as connection:
            erased = await erase(connection, payload.world_id, payload.end_user_id, _ROWS)
            if erased:
                now = self._ports.clock.now()
                await self._erasures.goes_on(connection, payload.world_id, payload.end_user_id, now)
            crash_point("delete-all:rows-erased")
        return erased

    async def _delete_batch(
        self, world_id: int, end_user_id: str, before: tuple[datetime, str]
    ) -> tuple[datetime, str] | None:
        """Delete one batch. Returns the time and id of its last recording, or None for an empty batch.

        The next batch starts after that recording. A batch that starts from the beginning would read the
        index entries of all deleted rows, because these entries stay until a vacuum.
        """
        now = self._ports.clock.now()
        async with self._ports.database.transaction() as connection:
            await share(connection, world_id, end_user_id)
            rows = await deletion_queries.lock_of_end_user(connection, world_id, end_user_id, _BATCH, before)
            if rows:
                deleted_at, cause = await self._erasures.goes_on(connection, world_id, end_user_id, now)
                await self._delete_rows(
                    connection, world_id, rows, cause, deleted_at, end_user_id=end_user_id
                )
            crash_point("delete-all:batch-deleted")
        return min(((row.created_at, row.id) for row in rows), default=None)

    async def _enter(self, world_id: int, end_user_id: str) -> None:
        """Store that all rows are deleted, and enqueue the erasure of the recordings' objects."""
        async with self._ports.database.transaction() as connection:
            await share(connection, world_id, end_user_id)
            await self._erasures.start_end_user(connection, world_id, end_user_id, self._ports.clock.now())
            crash_point("delete-all:before-commit")

    async def _delete_rows(
        self,
        connection: Connection,
        world_id: int,
        rows: Sequence[DeletionRow],
        cause: Cause,
        now: datetime,
        *,
        end_user_id: str | None = None,
        one_job: bool = False,
    ) -> None:
        """Delete these recordings. `end_user_id`: the end user that is deleted too; None: only recordings.

        `one_job`: one job erases the objects of all of them.
        """
        ids = [row.id for row in rows]
        kept = [row.id for row in rows if row.held]
        gone = [row.id for row in rows if not row.held]
        await deletion_queries.insert_tombstones(
            connection, world_id, ids, [row.created_at for row in rows], now
        )
        ends = await self._ends_of_links(connection, world_id, rows, now)
        await self._erasures.open_recordings(
            connection,
            world_id,
            [
                RecordingToErase(
                    row.id,
                    row.end_user_id,
                    object_names.recording_prefixes(row.project_id, row.id),
                    ends[row.id],
                    row.held,
                )
                for row in rows
            ],
            end_user_id=end_user_id,
            cause=cause,
            now=now,
            one_job=one_job,
        )
        crash_point("delete:ledger-written")
        for erase in self._on_delete:
            await erase(connection, world_id, ids)
        if kept:
            await deletion_queries.hide(connection, world_id, kept, now)
        if gone:
            await forget_reasons(connection, world_id, gone)
            await deletion_queries.delete_recordings(connection, world_id, gone)
        crash_point("delete:rows-deleted")
        deleted = [events.deleted_recording(row.id, row.project_id, row.created_at, now) for row in rows]
        await events.publish_deleted(connection, self._ports.ids, now, world_id, deleted)

    async def _ends_of_links(
        self, connection: Connection, world_id: int, rows: Sequence[DeletionRow], now: datetime
    ) -> dict[str, datetime]:
        """By recording: when the last upload URL ends; `now` without one."""
        ends = {row.id: row.last_url_expires_at or now for row in rows}
        for find in self._last_upload_ends:
            found = await find(connection, world_id, list(ends))
            ends.update({each: max(ends[each], end) for each, end in found.items()})
        return ends
