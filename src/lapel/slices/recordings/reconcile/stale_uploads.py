"""Uploads that no client completes, and verifications whose job was lost.

If an upload has an object, the reconciler completes the upload. If it has no object, its media fails a day
after the end of the last URL. The store does not notify the server of a new object. So the reconciler looks
for the object when the URL ends, and then every hour for a day.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import ApiError, NotFound, Unavailable
from lapel.foundation.queue import jobs
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.slices.recordings import events
from lapel.slices.recordings.access import Reach
from lapel.slices.recordings.errors import MediaNotUploaded
from lapel.slices.recordings.payloads import VERIFY, VerifyUpload
from lapel.slices.recordings.reconcile import reconcile_queries
from lapel.slices.recordings.records import record_queries
from lapel.slices.recordings.records.service import read_in
from lapel.slices.recordings.uploads import media_states
from lapel.slices.recordings.uploads.commit import VERIFICATION_PATIENCE

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.recordings.reconcile.findings import Findings
    from lapel.slices.recordings.uploads.completion import Completion

# Media without an object fail this long after the end of their last URL.
EXPIRY = timedelta(hours=24)
_LOOK_AGAIN = timedelta(hours=1)
_BATCH = 200

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Unfinished:
    """Handles media that are pending or being verified."""

    def __init__(self, ports: Ports, completion: Completion, findings: Findings) -> None:
        self._ports = ports
        self._completion = completion
        self._findings = findings

    async def run(self) -> None:
        """Handle every media whose `reconcile_at` has passed.

        Raises StoreUnavailable when the store fails, and Unavailable when the database fails. The next run
        then continues.
        """
        began = self._ports.clock.now()
        while True:
            async with self._ports.database.acquire() as connection:
                due = await reconcile_queries.find_unfinished(connection, began, _BATCH)
            if not due:
                return
            due.sort(key=lambda row: (row.world_id, row.recording_id))
            for (world_id, recording_id), media in groupby(
                due, key=lambda row: (row.world_id, row.recording_id)
            ):
                crash_point("reconcile:unfinished")
                states = {row.id: row.status for row in media}
                at = Reach(world_id, recording_id)
                try:
                    if "verifying" in states.values():
                        await self._requeue(at, list(states))
                    else:
                        await self._finish(at, list(states), began)
                except StoreUnavailable:
                    # Perhaps the store refuses only this recording, so the next run begins with the others.
                    await self._postpone(at, list(states), began + _LOOK_AGAIN)
                    raise
                except Unavailable:
                    raise
                except Exception as error:  # noqa: BLE001 - a recording that fails must not stop the others
                    _log.error("reconcile.stuck", recording=recording_id, exc_info=error)
                    await self._postpone(at, list(states), began + _LOOK_AGAIN)
                await self._findings.save()

    async def _postpone(self, at: Reach, media_ids: list[str], until: datetime) -> None:
        async with self._ports.database.transaction() as connection:
            await reconcile_queries.postpone(connection, at.world_id, at.recording_id, media_ids, until)

    async def _requeue(self, at: Reach, media_ids: list[str]) -> None:
        """Enqueue the verification's job again. No effect while a job of the same name waits or runs."""
        async with self._ports.database.transaction() as connection:
            attempt_id = await reconcile_queries.find_verifying(connection, at.world_id, at.recording_id)
            if attempt_id is not None:
                payload = VerifyUpload(at.world_id, at.recording_id)
                await jobs.enqueue(connection, VERIFY, payload, dedupe=attempt_id)
            again = self._ports.clock.now() + VERIFICATION_PATIENCE
            await reconcile_queries.postpone(connection, at.world_id, at.recording_id, media_ids, again)
        if attempt_id is not None:
            self._findings.add("verification_requeued", recording=at.recording_id, attempt=attempt_id)

    async def _finish(self, at: Reach, media_ids: list[str], began: datetime) -> None:
        expired: list[str] = []
        try:
            await self._completion.finish(at, frozenset(media_ids))
        except NotFound:  # deleted; a deleted end user's rows go later
            await self._postpone(at, media_ids, began + _LOOK_AGAIN)
            return
        except MediaNotUploaded:
            expired = await self._expire(at, media_ids, began)
        except Unavailable:
            raise
        except ApiError as error:  # refused, or handed to a job: `_tell` reads which
            _log.info("reconcile.completion", recording=at.recording_id, code=error.code)
        others = [each for each in media_ids if each not in expired]
        if others:
            await self._tell(at, others, began)

    async def _tell(self, at: Reach, media_ids: list[str], began: datetime) -> None:
        """Report the results as findings, and postpone the media that are still pending."""
        async with self._ports.database.transaction() as connection:
            after = await reconcile_queries.read_statuses(connection, at.world_id, at.recording_id, media_ids)
            pending = [row for row in after if row.status == "pending"]
            if pending:
                last_look = min(row.last_url_expires_at for row in pending) + EXPIRY
                again = began + _LOOK_AGAIN
                if began < last_look < again:
                    again = last_look
                ids = [row.id for row in pending]
                await reconcile_queries.postpone(connection, at.world_id, at.recording_id, ids, again)
        for row in after:
            if row.status in ("uploaded", "verifying"):
                self._findings.add("upload_finished", recording=at.recording_id, media=row.id)
            elif row.status == "failed":
                self._findings.add("upload_refused", recording=at.recording_id, media=row.id)

    async def _expire(self, at: Reach, media_ids: list[str], began: datetime) -> list[str]:
        """Fail the media whose last URL ended more than a day ago. Returns their ids."""
        now = self._ports.clock.now()
        crash_point("reconcile:before-expiry")
        async with self._ports.database.transaction() as connection:
            locked = await record_queries.lock(connection, at)
            if locked is None:
                return []
            failure = "Nothing was uploaded within 24 hours of the last upload URL's end."
            expired = await media_states.expire(connection, at, media_ids, failure, began - EXPIRY)
            # The status `integrity_failure` stays, because it says more than `failed`.
            if (
                expired
                and locked.status == "pending"
                and await reconcile_queries.all_failed(connection, at.world_id, at.recording_id)
            ):
                await record_queries.set_status(connection, at.world_id, at.recording_id, "failed", now)
                recording = await read_in(connection, at, locked.project_id)
                occasion = f"{expired[0]}:{int(now.timestamp())}"
                await events.publish(
                    connection, self._ports.ids, now, at.world_id, "failed", recording, occasion=occasion
                )
        crash_point("reconcile:expired")
        for media_id in expired:
            self._findings.add("media_expired", recording=at.recording_id, media=media_id)
        return expired
