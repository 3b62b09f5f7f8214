"""Walks over the store that compare objects with rows, page by page.

A walk reads rows and objects side by side, as a merge join does. Both are in the order of the keys' bytes, in
which S3 lists objects (ListObjectsV2, Amazon S3 API Reference). A walk saves its position in the database
after every page, and the next run continues there. A run reads a limited number of pages, so its cost does
not grow with the number of objects.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.ids import made_at
from lapel.foundation.storage import object_names
from lapel.foundation.storage.errors import ObjectMissing
from lapel.slices.recordings.reconcile import reconcile_queries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.ports import Ports
    from lapel.foundation.storage.object_info import ObjectInfo
    from lapel.slices.recordings.reconcile.findings import Findings
    from lapel.slices.recordings.uploads.media_states import AttemptState, MediaStatus

# An older copy is not in use: a completion accepts its copy within `commit.MAX_VERIFICATION_AGE`, or never.
COPY_GRACE = timedelta(hours=24)
LATE_PUT_GRACE = timedelta(hours=24)
# For a staged object whose attempt has no row: a day, and one hour more in which its URL may have been valid.
STRAY_GRACE = timedelta(hours=25)
_PAGES = 200
_ROWS = 2000


class Walks:
    """Compares the objects of the store with the rows."""

    def __init__(self, ports: Ports, findings: Findings) -> None:
        self._ports = ports
        self._findings = findings

    async def run(self) -> None:
        """Walk over some pages of copies, and some of staged objects.

        Raises StoreUnavailable when the store fails, and Unavailable when the database fails. The next run
        then continues.
        """
        await self._walk("copies", object_names.MEDIA)
        await self._walk("staging", object_names.STAGING)

    async def _walk(self, name: str, prefix: str) -> None:
        async with self._ports.database.acquire() as connection:
            position = await reconcile_queries.read_walk(connection, name)
        pages = 0
        async for listed in self._ports.store.pages(prefix, after=position or None):
            crash_point("reconcile:walk")
            last = max((each.key for each in listed), default=position)
            if name == "copies":
                await self._compare_copies(position, last, listed)
            else:
                await self._sweep_staging(listed)
            position = last
            await self._save(name, position)
            pages += 1
            if pages >= _PAGES:
                return
        if name == "copies":
            await self._compare_copies(position, None, ())
        await self._save(name, "")

    async def _save(self, name: str, position: str) -> None:
        async with self._ports.database.transaction() as connection:
            await reconcile_queries.save_walk(connection, name, position, self._ports.clock.now())
        await self._findings.save()

    async def _compare_copies(self, after: str, until: str | None, listed: Sequence[ObjectInfo]) -> None:
        """Compare objects and rows whose keys lie after `after` and up to `until` (None: to the end)."""
        objects = {each.key for each in listed}
        served: set[str] = set()
        low = after
        while True:
            async with self._ports.database.acquire() as connection:
                page = await reconcile_queries.rows_between(connection, low, until, _ROWS)
            served.update(page)
            for key in page:
                if key not in objects:
                    await self._check_missing(key)
            if len(page) < _ROWS:
                break
            low = page[-1]
        oldest = self._ports.clock.now() - COPY_GRACE
        for each in listed:
            if each.key not in served and each.last_modified < oldest:
                await self._sweep_copy(each.key, oldest)

    async def _check_missing(self, key: str) -> None:
        """Ask the store and the database once more, and report a row that still has no object.

        The object may be newer than the listing, and the row may have been deleted meanwhile.
        """
        try:
            await self._ports.store.head(key)
        except ObjectMissing:
            async with self._ports.database.acquire() as connection:
                row = await reconcile_queries.row_of_object(connection, key)
            if row is not None:
                self._findings.add("object_missing", recording=row.recording_id, media=row.id, key=key)

    async def _sweep_copy(self, key: str, oldest: datetime) -> None:
        """Delete a copy that no row serves. The recording is locked meanwhile.

        The copy must be old by two clocks: the store's clock, and the clock of the process that made the
        copy, whose time is in the copy's name. So one wrong clock cannot make a fresh copy look old.
        """
        named = object_names.parse(key)
        begun_at = None if named is None else made_at(named.copy_id)
        if named is None or begun_at is None:
            self._findings.add("foreign_object", key=key)
            return
        if begun_at >= oldest:
            return
        crash_point("reconcile:before-sweep")
        async with self._ports.database.transaction() as connection:
            await reconcile_queries.lock_by_project(connection, named.project_id, named.recording_id)
            if await reconcile_queries.row_of_object(connection, key) is not None:
                return
            await self._ports.store.delete_many([key])
        crash_point("reconcile:swept")
        self._findings.add("copy_swept", recording=named.recording_id, key=key)

    async def _sweep_staging(self, listed: Sequence[ObjectInfo]) -> None:
        """Delete staged objects that no completion can use any more."""
        now = self._ports.clock.now()
        async with self._ports.database.acquire() as connection:
            attempts = await reconcile_queries.read_staged(connection, [each.key for each in listed])
        stale: list[str] = []
        for each in listed:
            attempt = attempts.get(each.key)
            if attempt is None:
                if each.last_modified < now - STRAY_GRACE:
                    stale.append(each.key)
            elif attempt.url_expires_at < now - LATE_PUT_GRACE and not _may_be_taken(
                attempt.state, attempt.status
            ):
                stale.append(each.key)
        if not stale:
            return
        crash_point("reconcile:before-sweep")
        await self._ports.store.delete_many(stale)
        crash_point("reconcile:swept")
        for key in stale:
            self._findings.add("late_put_swept", key=key)


def _may_be_taken(attempt: AttemptState, media: MediaStatus) -> bool:
    """Whether a completion or a verification may still need the object."""
    return attempt in ("issued", "verifying") and media in ("pending", "verifying")
