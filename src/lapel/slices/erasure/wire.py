"""The contract's structs of the erasure ledger."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from lapel.foundation.http.input.fields import Timestamp
from lapel.foundation.http.input.pagination import PageQuery

Subject: TypeAlias = Literal["recording", "end_user"]
State: TypeAlias = Literal["open", "erased", "closed"]
Reason: TypeAlias = Literal["request", "end_user_deleted", "retention", "reconcile"]


class Requester(msgspec.Struct, frozen=True, kw_only=True):
    """Who asked for a deletion."""

    kind: Annotated[
        str,
        msgspec.Meta(
            description="`key`, `operator` (a command on the server's machine) or `system` (the server "
            "itself, as the configuration says)."
        ),
    ]
    id: Annotated[str | None, msgspec.Meta(description="The id of the key; null for other kinds.")]


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """One entry: the deleted resource, and the state of its objects in the store.

    `open`: objects may remain. `erased`: a listing of the store found no objects. `closed`: a later listing,
    after all upload URLs had expired, found no objects either.
    """

    id: str
    project_id: str
    resource_type: Subject
    resource_id: str
    state: State
    reason: Annotated[
        Reason,
        msgspec.Meta(
            description="`request`: a caller deleted the resource. `end_user_deleted`: the recording's end "
            "user was deleted. `retention`: the configuration's `retention` said so. `reconcile`: the "
            "resource had been erased before, and a restored backup brought it back."
        ),
    ]
    requested_by: Annotated[
        Requester | None,
        msgspec.Meta(description="Null for deletions by versions of Lapel that did not store the caller."),
    ]
    due_at: Annotated[
        Timestamp, msgspec.Meta(description="The time by which all objects must be gone: a day later.")
    ]
    objects_erased: int
    links_expire_at: Annotated[
        Timestamp, msgspec.Meta(description="The time at which the last upload URL expires.")
    ]
    created_at: Timestamp
    erased_at: Timestamp | None
    closed_at: Timestamp | None


class ErasurePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the ledger, newest first."""

    data: list[Erasure]
    has_more: bool
    next_cursor: str | None


class ErasureQuery(PageQuery, frozen=True, kw_only=True):
    """The filters of the list of ledger entries."""

    state: State | None = None
    resource_type: Subject | None = None
    resource_id: (
        Annotated[str, msgspec.Meta(description="The deleted recording or end user: 0 or 1 entries.")] | None
    ) = None
