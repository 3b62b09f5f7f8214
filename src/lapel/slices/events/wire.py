"""The contract's structs of events."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from lapel.foundation.http.input.fields import Moment, Timestamp
from lapel.foundation.http.input.pagination import PageQuery

Types: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        max_length=2000,
        description="Only events of these types, with commas between them. `recording.*` stands for all "
        "types that begin with `recording.`, and `*` for all types.",
        examples=["recording.uploaded,transcription.*"],
    ),
]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event, as a webhook receives it.

    `data` is the resource as it was when the event happened.
    """

    id: Annotated[str, msgspec.Meta(examples=["evt_0VvPq3xYz8KmW2nLc5RtB7dF"])]
    type: Annotated[str, msgspec.Meta(examples=["recording.uploaded"])]
    created_at: Timestamp
    data: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of events, newest first."""

    data: list[Event]
    has_more: bool
    next_cursor: str | None


class EventQuery(PageQuery, frozen=True, kw_only=True):
    """The page and the filters of a list of events."""

    types: Types | None = None
    resource_id: (
        Annotated[str, msgspec.Meta(description="Only events about the resource with this id.")] | None
    ) = None
    created_after: (
        Annotated[Moment, msgspec.Meta(description="Only events of this time or later.")] | None
    ) = None
    created_before: Annotated[Moment, msgspec.Meta(description="Only events before this time.")] | None = None


class StreamQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The filter of a stream, and where it begins."""

    types: Types | None = None
    after: (
        Annotated[
            str,
            msgspec.Meta(
                description="The last `id` that this stream sent: the stream continues after it. 0 begins "
                "with the oldest event that is kept. The header `Last-Event-ID` comes before it. Without "
                "both, the stream begins with the next event."
            ),
        ]
        | None
    ) = None


class ResendEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The webhook that gets the event again; without it, all webhooks that have subscribed to its type.

    An unknown field is refused, because with `webhook_id` misspelled all of them would get it.
    """

    webhook_id: str | None = None


class ResentEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is delivered again, and the webhooks that get it."""

    event_id: str
    webhook_ids: list[str]
