"""The contract's structs of the erasure ledger."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from lapel.foundation.http.input.fields import Timestamp
from lapel.foundation.http.input.pagination import PageQuery

Subject: TypeAlias = Literal["recording", "end_user"]
State: TypeAlias = Literal["open", "erased", "closed"]


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """One entry: what was deleted, and how far the store has followed.

    `open`: objects may remain. `erased`: a listing was empty. `closed`: a later listing, made
    when no upload link could work any more, was empty too.
    """

    id: str
    project_id: str
    resource_type: Subject
    resource_id: str
    state: State
    objects_erased: int
    links_expire_at: Annotated[Timestamp, msgspec.Meta(description="When the last upload URL ends.")]
    created_at: Timestamp
    erased_at: Timestamp | None
    closed_at: Timestamp | None


class ErasurePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the ledger, newest first."""

    data: list[Erasure]
    has_more: bool
    next_cursor: str | None


class ErasureQuery(PageQuery, frozen=True, kw_only=True):
    """How to list the ledger."""
