"""Legal holds outside of the database: after a restore, a hold is placed again before anything is erased.

The bucket has an object when a hold is placed, and a second one when it is released; their names say all that
a reconciliation needs. A file has the holds that are in force. Reasons are not told, because they may be
about a person. No line of an erasure is written before the lines of all holds of its world, so a line that
asks to erase a resource never comes without the hold that keeps a part of it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from lapel.foundation.core.actors import Mode
from lapel.foundation.storage.object_names import LEDGER
from lapel.slices.erasure.outside import hold_line_queries
from lapel.slices.erasure.wire import HoldSubject

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.ports import Ports
    from lapel.foundation.storage.client import ObjectStore
    from lapel.slices.erasure.outside.hold_line_queries import UntoldHoldRow

_BATCH = 100
_KINDS: dict[HoldSubject, str] = {"recording": "recordings", "end_user": "end-users"}
_SUBJECTS: dict[str, HoldSubject] = {kind: subject for subject, kind in _KINDS.items()}


class HoldLine(msgspec.Struct, frozen=True):
    """One hold: its id, the world (project and mode), the resource, and whether it was placed or released."""

    id: str
    project_id: str
    mode: Mode
    resource_type: HoldSubject
    resource_id: str
    hold: Literal["placed", "released"]
    created_at: datetime


class HeldResource(msgspec.Struct, frozen=True):
    """A hold that is in force: its id, its world, and the resource that it keeps."""

    id: str
    project_id: str
    mode: str
    resource_type: HoldSubject
    resource_id: str


async def tell(ports: Ports, world_id: int | None = None) -> None:
    """Write the lines of holds and releases into the bucket that it does not have: of a world, or of all.

    A repeat changes nothing. Raises StoreUnavailable, and Unavailable while the database is unavailable.
    """
    while True:
        async with ports.database.acquire() as connection:
            rows = await hold_line_queries.find_untold(connection, world_id, _BATCH)
        for row in rows:
            await _write(ports.store, row, "placed")
            if row.released_at is not None:
                await _write(ports.store, row, "released")
            async with ports.database.transaction() as connection:
                await hold_line_queries.set_told(connection, row)
        if len(rows) < _BATCH:
            return


async def read(store: ObjectStore) -> AsyncGenerator[list[HeldResource]]:
    """The holds that were not released, as the bucket tells; some at a time. Raises StoreUnavailable."""
    # A listing is in order of names, so the release of a hold comes right after it.
    last: HeldResource | None = None
    async for page in store.pages(LEDGER):
        found: list[HeldResource] = []
        for info in page:
            hold, state = _hold_of(info.key)
            if state == "released":
                last = None
            elif hold is not None:
                found += [] if last is None else [last]
                last = hold
        yield found
    yield [] if last is None else [last]


def placed(row: UntoldHoldRow) -> HoldLine:
    """The line of a hold that was placed."""
    of = (row.project_id, row.mode, row.resource_type, row.resource_id)
    return HoldLine(row.id, *of, "placed", row.created_at)


def _hold_of(name: str) -> tuple[HeldResource | None, str]:
    """The hold that an object's name tells of, and whether it was placed or released."""
    match name.removeprefix(LEDGER).split("/"):
        case [project_id, mode, "holds", kind, resource_id, hold_id, state] if kind in _SUBJECTS:
            return HeldResource(hold_id, project_id, mode, _SUBJECTS[kind], resource_id), state
        case _:
            return None, ""


async def _write(store: ObjectStore, row: UntoldHoldRow, state: Literal["placed", "released"]) -> None:
    line = placed(row)
    if state == "released":
        line = msgspec.structs.replace(line, hold=state, created_at=row.released_at or row.created_at)
    folder = f"{LEDGER}{row.project_id}/{row.mode}/holds/{_KINDS[row.resource_type]}"
    await store.put(f"{folder}/{row.resource_id}/{row.id}/{state}", msgspec.json.encode(line))
