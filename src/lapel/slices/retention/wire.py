"""The structs of the preview of retention."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from lapel.foundation.http.input.fields import Count, Moment, Timestamp
from lapel.foundation.http.input.pagination import Cursor


class RetentionRule(msgspec.Struct, frozen=True, kw_only=True):
    """The override that decides: its level, and the days of its field for the `kind`."""

    source: Literal["organization", "project", "end_user", "device"]
    days: Count
    in_force_at: Annotated[
        Timestamp,
        msgspec.Meta(
            description="22 hours after the last change of the override. Before, it erases nothing."
        ),
    ]


class FallingDue(msgspec.Struct, frozen=True, kw_only=True):
    """What will be erased: a whole recording with all its data, or only its audio."""

    recording_id: str
    end_user_id: str
    kind: Literal["recording", "audio"]
    falls_due_at: Annotated[
        Timestamp,
        msgspec.Meta(
            description="The earliest time of the erasure. It follows within a day, unless a legal hold "
            "postpones it."
        ),
    ]
    held: Annotated[
        bool,
        msgspec.Meta(
            description="A legal hold postpones the erasure until its release. Totals leave it out."
        ),
    ]
    rule: RetentionRule


class FallingDueTotal(msgspec.Struct, frozen=True, kw_only=True):
    """How many recordings or audio fall due, and how many bytes of the store this frees."""

    count: Count
    bytes: Count


class FallingDueTotals(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of both kinds. No byte counts twice."""

    recording: FallingDueTotal
    audio: FallingDueTotal
    complete: Annotated[bool, msgspec.Meta(description="False: counting ended early, and there may be more.")]


class RetentionPreview(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that falls due until `before`: the totals, and one page.

    The list is ordered by kind and by the rule that decides, and for each rule oldest first. `totals` is null
    on all pages but the first.
    """

    before: Timestamp
    totals: FallingDueTotals | None
    data: list[FallingDue]
    has_more: bool
    next_cursor: str | None


class RetentionPreviewQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The page and the filters of the preview."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=100, description="The most rows of a page.")] = 20
    cursor: Cursor = ""

    before: (
        Annotated[
            Moment,
            msgspec.Meta(description="Everything that falls due until this time; default: 7 days from now."),
        ]
        | None
    ) = None
    end_user_id: str | None = None
