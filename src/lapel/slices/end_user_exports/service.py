"""The export of one end user: a zip of all data, made while it is sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import timestamp
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database import audit
from lapel.foundation.http.calls import Content, Reply
from lapel.foundation.http.large_responses import WHOLE_EXPORT
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.slices.end_user_exports.contents import Contents, Sources
from lapel.slices.end_user_exports.wire import ExportHead
from lapel.slices.end_user_exports.zipped_files import zipped
from lapel.slices.end_users.service import lock_against_deletion, unknown

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.ports import Ports

MEDIA_TYPE = "application/zip"


class EndUserExports:
    """Makes exports. Every method raises Unavailable while the database is unavailable."""

    def __init__(self, ports: Ports, sources: Sources) -> None:
        self._ports = ports
        self._sources = sources

    async def room(self, actor: Actor, end_user_id: str) -> int:
        """The size that an export counts for, in bytes. Raises NotFound when the caller reaches no such end
        user."""
        await self._sources.end_users.read(actor, end_user_id)
        return WHOLE_EXPORT

    async def export(self, actor: Actor, end_user_id: str) -> Reply[Content]:
        """The zip as an answer.

        Raises NotFound when the caller reaches no such end user. The pieces raise NotFound when the end user
        is deleted meanwhile, and Unavailable when the store or the database is away: then the answer is
        broken off.
        """
        await self._sources.end_users.read(actor, end_user_id)
        name, pieces = await self._begin(msgspec.structs.replace(actor, end_user_id=end_user_id), actor)
        headers = (
            ("Content-Type", MEDIA_TYPE),
            ("Content-Disposition", f'attachment; filename="{name}"'),
        )
        return Reply(pieces, headers=headers)

    async def export_for_operator(self, end_user_id: str) -> tuple[str, AsyncGenerator[bytes]]:
        """The name of the zip, and its bytes in pieces, for the operator's command.

        Raises NotFound when no world has such an end user. The pieces raise as those of `export`.
        """
        return await self._begin(await self._sources.end_users.reader_of(end_user_id), None)

    async def _begin(self, reader: Actor, by: Actor | None) -> tuple[str, AsyncGenerator[bytes]]:
        """Write the audit entry, and begin to read as `reader`, who is scoped to the end user.

        `by`: who asked for the export; None: the operator. Raises NotFound when the end user is deleted
        meanwhile.
        """
        now, end_user_id = self._ports.clock.now(), reader.end_user_id
        if end_user_id is None:
            raise AssertionError("an export reads as a caller that is scoped to one end user")
        change = audit.happened("end_user.exported", end_user_id)
        async with self._ports.database.transaction() as connection:
            # A deletion waits until the entry is written. Its job then finds the address in the entry.
            if not await lock_against_deletion(connection, reader.world_id, end_user_id):
                raise unknown()
            await audit.record(
                connection,
                self._ports.ids,
                now,
                worlds=[reader.world_id],
                actor=by,
                change=change,
                about=end_user_id,
            )
        head = ExportHead(end_user_id=end_user_id, project_id=reader.project_id, created_at=timestamp(now))
        with_audit_log = by is None or by.scoped_to is None
        contents = Contents(self._sources, reader, end_user_id, with_audit_log=with_audit_log)
        pieces = zipped(contents.files(), head, now)
        return f"{end_user_id}-{now:%Y-%m-%d}.zip", _explained(pieces)


async def _explained(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """The same pieces. Raises Unavailable in place of StoreUnavailable."""
    async with aclosing(pieces):
        try:
            async for piece in pieces:
                yield piece
        except StoreUnavailable as error:
            raise Unavailable("The object store does not answer. Repeat the request.") from error
