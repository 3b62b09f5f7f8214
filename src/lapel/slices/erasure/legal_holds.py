"""Legal holds: while a hold is in force, a deletion hides its resource, and erases nothing.

The slices of recordings and end users lock their row before they call this module, both to place a hold and
to delete. So of a hold and a deletion that meet, the later one sees the earlier one. A hold is released
without that lock, because the resource may be deleted already; a job then does what the hold postponed. The
job first waits for the deletions that read the hold before its release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.foundation.core.errors import Conflict, NotFound
from lapel.foundation.database import audit
from lapel.foundation.http.input.pagination import page, window
from lapel.slices.erasure import hold_queries
from lapel.slices.erasure.wire import Hold, HoldPage, Requester

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.erasure.hold_queries import HoldRow, ReleasedRow
    from lapel.slices.erasure.wire import HoldQuery, HoldSubject, PlaceHold

# `place` tries again when the hold that prevents its insert is released before it is read.
_TRIES = 3
_BATCH = 100
LOST_REASON = "Placed again by `lapel erase --reconcile` after a restore; the original reason is lost."


class Holds:
    """Places, releases and lists holds.

    `list` and `find_unsettled` raise Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def list(self, actor: Actor, query: HoldQuery) -> HoldPage:
        """One page of holds, newest first. Raises InvalidRequest for a bad cursor."""
        asked = window(query, "holds")
        active = None if query.active is None else query.active == "true"
        async with self._ports.database.acquire() as connection:
            rows = await hold_queries.list_page(connection, actor.world_id, asked, active, query.resource_id)
        data, has_more, next_cursor = page(rows, asked, lambda row: _hold(row, actor.project_id))
        return HoldPage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def place(
        self,
        connection: Connection,
        actor: Actor,
        subject: tuple[HoldSubject, str],
        body: PlaceHold,
        *,
        end_user_id: str,
    ) -> tuple[Hold, bool]:
        """Place a hold on a resource (type, id) that the caller has locked.

        `end_user_id`: the end user to whom the resource belongs. Returns the
        hold, and whether it is new: a resource with a hold keeps that hold and its reason. Raises Conflict
        when concurrent requests keep placing and releasing holds of this resource.
        """
        now, ids = self._ports.clock.now(), self._ports.ids
        for _ in range(_TRIES):
            made = await hold_queries.insert(
                connection, actor.world_id, ids.new("hld"), subject, body.reason, actor, now
            )
            if made is not None:
                await self._record(connection, actor, made, now, about=end_user_id, world_id=actor.world_id)
                return _hold(made, actor.project_id), True
            row = await hold_queries.read_active(connection, actor.world_id, subject[1])
            if row is not None:
                return _hold(row, actor.project_id), False
        raise _changed_meanwhile()

    async def place_again(
        self,
        connection: Connection,
        world_id: int,
        hold_id: str,
        subject: tuple[HoldSubject, str],
        *,
        end_user_id: str,
    ) -> bool:
        """Place a hold of a resource (type, id) that a restored database has lost. Its reason is lost.

        As `place`. False when the resource has a hold in force, or had this one.
        """
        now = self._ports.clock.now()
        row = await hold_queries.insert_again(connection, world_id, hold_id, subject, LOST_REASON, now)
        if row is not None:
            await self._record(connection, None, row, now, about=end_user_id, world_id=world_id)
        return row is not None

    async def release(
        self,
        connection: Connection,
        actor: Actor,
        subject: tuple[HoldSubject, str],
        *,
        end_user_id: str | None,
    ) -> str | None:
        """Release the hold of a resource (type, id), which may be deleted already.

        `end_user_id`: the end user to whom the resource belongs; None if the resource is erased. Returns the
        hold's id, or None when it was released before. Raises NotFound when the resource never had a hold,
        and Conflict when concurrent requests keep placing and releasing holds of this resource.
        """
        now = self._ports.clock.now()
        for _ in range(_TRIES):
            row = await hold_queries.release(connection, actor.world_id, subject, now, actor)
            if row is not None:
                await self._record(connection, actor, row, now, about=end_user_id, world_id=actor.world_id)
                return row.id
            newest = await hold_queries.read_newest(connection, actor.world_id, subject)
            if newest is None:
                raise NotFound("There is no legal hold on a resource with this id.")
            if newest.released_at is not None:
                return None
            # It was placed since the statement before.
        raise _changed_meanwhile()

    async def find_unsettled(
        self, released_before: datetime, without: Sequence[str]
    ) -> Sequence[ReleasedRow]:
        """At most `_BATCH` released holds whose job has not settled them; none of the holds `without`."""
        async with self._ports.database.acquire() as connection:
            return await hold_queries.find_unsettled(connection, released_before, _BATCH, without)

    async def _record(
        self,
        connection: Connection,
        actor: Actor | None,
        row: HoldRow,
        now: datetime,
        *,
        world_id: int,
        about: str | None,
    ) -> None:
        """Record a hold that was placed or released."""
        is_release = row.released_at is not None
        change = audit.Change(
            action="hold.released" if is_release else "hold.placed",
            resource_type=row.resource_type,
            resource_id=row.resource_id,
            before={"id": row.id} if is_release else None,
            after=None if is_release else {"id": row.id, "reason": row.reason},
        )
        await audit.record(
            connection,
            self._ports.ids,
            now,
            worlds=[world_id],
            actor=actor,
            change=change,
            about=about,
        )


def _hold(row: HoldRow, project_id: str) -> Hold:
    return Hold(
        id=row.id,
        project_id=project_id,
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        reason=row.reason,
        placed_by=Requester(kind=row.placed_by_kind, id=row.placed_by_id),
        created_at=timestamp(row.created_at),
        released_by=(
            None
            if row.released_by_kind is None
            else Requester(kind=row.released_by_kind, id=row.released_by_id)
        ),
        released_at=timestamp_or_none(row.released_at),
    )


def _changed_meanwhile() -> Conflict:
    return Conflict("The hold of this resource is being changed by another request. Repeat the request.")
