"""The ends of keys outside of the database: a restored database is older than some revocations.

The bucket has an object for each end of a key: its revocation, the end of the overlap after its rotation, and
the revocation of what it issued. The name says all that a reconciliation needs. The objects have ids and
times, and no secret and no hash of one. The worker writes them within a minute; until then, the end is in the
database alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, get_args

import msgspec

from lapel.foundation.storage.object_names import LEDGER

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.storage.client import ObjectStore
    from lapel.slices.projects.revocations.revocation_line_queries import EndedKeyRow

End: TypeAlias = Literal["revoked", "retired", "issued-revoked"]
ENDS: tuple[End, ...] = get_args(End)


class RevocationLine(msgspec.Struct, frozen=True):
    """One end of a key: its world (project and mode), the kind of end, and its time."""

    key_id: str
    project_id: str
    mode: str
    end: End
    at: Annotated[datetime, msgspec.Meta(tz=True)]


def lines_of(row: EndedKeyRow) -> list[RevocationLine]:
    """The lines of a key that has ended."""
    times = zip(ENDS, (row.revoked_at, row.retired_at, row.issued_revoked_at), strict=True)
    return [RevocationLine(row.id, row.project_id, row.mode, end, at) for end, at in times if at is not None]


async def write(store: ObjectStore, line: RevocationLine) -> None:
    """Write a line into the bucket; a repeat changes nothing. Raises StoreUnavailable."""
    seconds = ceil(line.at.timestamp())  # never before the end itself, which the database compares with it
    name = f"{LEDGER}{line.project_id}/{line.mode}/keys/{line.key_id}/{line.end}/{seconds}"
    await store.put(name, msgspec.json.encode(line))


async def read(store: ObjectStore) -> AsyncGenerator[list[RevocationLine]]:
    """All ends of keys that the bucket tells of, a thousand at a time. Raises StoreUnavailable."""
    async for page in store.pages(LEDGER):
        yield [line for info in page if (line := line_of(info.key)) is not None]


def line_of(name: str) -> RevocationLine | None:
    """The end that an object's name tells of; None for any other name."""
    match name.removeprefix(LEDGER).split("/"):
        case [project_id, mode, "keys", key_id, end, seconds] if end in ENDS and seconds.isdecimal():
            try:
                at = datetime.fromtimestamp(int(seconds), UTC)
            except (ValueError, OverflowError, OSError):  # past the year 9999: no line of ours
                return None
            return RevocationLine(key_id, project_id, mode, end, at)
        case _:
            return None
