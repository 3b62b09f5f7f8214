"""The lines of the ledger that survive a restore: as small objects in the bucket, and in exported files.

A restored database is older than some erasures, so its ledger does not have them. A line's object is written
before the objects of its entry are erased. Its name says all that a reconciliation needs, so that a listing
suffices.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.actors import Mode
from lapel.foundation.core.ids import made_at
from lapel.foundation.storage.object_names import LEDGER
from lapel.slices.erasure.wire import Reason, Subject

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.storage.client import ObjectStore


class LedgerLine(msgspec.Struct, frozen=True):
    """One erasure: the entry's id, the world (project and mode), the resource, and reason and time.

    `recording_id`: the recording of a media; None for other resources.
    """

    id: str
    project_id: str
    mode: Mode
    resource_type: Subject
    resource_id: str
    reason: Reason
    created_at: datetime
    recording_id: str | None = None


class ErasedResource(msgspec.Struct, frozen=True):
    """A resource that was erased, and its world. `recording_id`: the recording of a media."""

    project_id: str
    mode: str
    resource_type: Subject
    resource_id: str
    recording_id: str | None = None


def name_of(line: LedgerLine) -> str:
    """The name of a line's object."""
    world = f"{LEDGER}{line.project_id}/{line.mode}"
    match line.resource_type:
        case "recording":
            return f"{world}/recordings/{line.resource_id}/{line.id}"
        case "end_user":
            return f"{world}/end-users/{line.resource_id}/{line.id}"
        case "media":
            return f"{world}/media/{line.recording_id}/{line.resource_id}/{line.id}"


def resource_of(name: str) -> ErasedResource | None:
    """The resource that an object's name tells of; None for any other name."""
    match name.removeprefix(LEDGER).split("/"):
        case [project_id, mode, "recordings", resource_id, _]:
            return ErasedResource(project_id, mode, "recording", resource_id)
        case [project_id, mode, "end-users", resource_id, _]:
            return ErasedResource(project_id, mode, "end_user", resource_id)
        case [project_id, mode, "media", recording_id, resource_id, _]:
            return ErasedResource(project_id, mode, "media", resource_id, recording_id)
        case _:
            return None


async def write(store: ObjectStore, line: LedgerLine) -> None:
    """Write a line into the bucket; a repeat changes nothing. Raises StoreUnavailable."""
    await store.put(name_of(line), msgspec.json.encode(line))


async def tells_between(store: ObjectStore, since: datetime, until: datetime) -> bool:
    """Whether the bucket tells of an erasure or a hold whose id was made between two times.

    Raises StoreUnavailable when the store fails.
    """
    async for page in store.pages(LEDGER):
        for info in page:
            # The last part of an erasure's name is its id; after the id of a hold comes its state.
            times = [made_at(part) for part in info.key.split("/")[-2:]]
            if any(time is not None and since <= time < until for time in times):
                return True
    return False


async def read(store: ObjectStore) -> AsyncGenerator[list[ErasedResource]]:
    """All resources whose erasure the bucket tells of, a thousand at a time.

    Raises StoreUnavailable when the store fails.
    """
    async for page in store.pages(LEDGER):
        yield [each for info in page if (each := resource_of(info.key)) is not None]
