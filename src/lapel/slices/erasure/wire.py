"""The contract's structs of the erasure ledger."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from lapel.foundation.http.input.fields import NOT_BLANK, Timestamp
from lapel.foundation.http.input.pagination import PageQuery

Subject: TypeAlias = Literal["recording", "end_user", "media"]
HoldSubject: TypeAlias = Literal["recording", "end_user"]
State: TypeAlias = Literal["open", "held", "erased", "closed"]
Reason: TypeAlias = Literal["request", "end_user_deleted", "retention", "reconcile"]


class Requester(msgspec.Struct, frozen=True, kw_only=True):
    """Who asked for a deletion, or placed or released a hold."""

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

    `open`: objects may remain. `held`: no answer shows the resource any more, and a legal hold keeps its rows
    and objects until the hold is released. `erased`: a listing of the store found no objects. `closed`: a
    later listing, after all upload URLs had expired, found no objects either.
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
        Timestamp | None,
        msgspec.Meta(
            description="The time by which all objects must be gone: 24 hours after the deletion, or after "
            "the release of the last hold. Null while a hold keeps them."
        ),
    ]
    objects_erased: Annotated[
        int,
        msgspec.Meta(
            description="About how many objects were deleted: an object counts twice if two workers erase it "
            "at once, and not at all if something fails between its deletion and its counting. Of an end "
            "user: the sum over its recordings' entries, once the state is `erased`; 0 before."
        ),
    ]
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


class PlaceHold(msgspec.Struct, frozen=True, kw_only=True):
    """The reason of a legal hold."""

    reason: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            max_length=1000,
            pattern=NOT_BLANK,
            description="Why the data must be kept; not only white space. The audit log keeps the reason "
            "too, so write no more about a person than you need.",
            examples=["Case 2027-114: keep until the court has decided."],
        ),
    ]


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A legal hold of a recording, or of an end user with all its recordings, present and future.

    A deletion of the resource hides it at once. The hold keeps a recording with its media, transcriptions and
    objects, and an end user's own fields, until `released_at`; everything else is erased as without a hold.
    """

    id: str
    project_id: str
    resource_type: HoldSubject
    resource_id: str
    reason: Annotated[str | None, msgspec.Meta(description="Null after the resource is erased.")]
    placed_by: Requester
    created_at: Timestamp
    released_by: Requester | None
    released_at: Timestamp | None


class HoldPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of holds, newest first."""

    data: list[Hold]
    has_more: bool
    next_cursor: str | None


class HoldQuery(PageQuery, frozen=True, kw_only=True):
    """The filters of the list of holds."""

    # Two words and not a boolean: msgspec takes the text `null` of a query for the absence of a boolean.
    active: (
        Annotated[
            Literal["true", "false"],
            msgspec.Meta(description="true: only holds in force. false: only released holds."),
        ]
        | None
    ) = None
    resource_id: (
        Annotated[str, msgspec.Meta(description="Only holds on the recording or end user with this id.")]
        | None
    ) = None


class ErasureQuery(PageQuery, frozen=True, kw_only=True):
    """The filters of the list of ledger entries."""

    state: State | None = None
    resource_type: Subject | None = None
    resource_id: (
        Annotated[str, msgspec.Meta(description="The deleted recording, end user or audio: 0 or 1 entries.")]
        | None
    ) = None
