"""The contract's structs of the erasure ledger."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from lapel.foundation.http.input.fields import Timestamp
from lapel.foundation.http.input.pagination import PageQuery

Subject: TypeAlias = Literal["recording", "end_user"]
State: TypeAlias = Literal["open", "erased", "closed"]


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
    """The parameters of the list of ledger entries."""
