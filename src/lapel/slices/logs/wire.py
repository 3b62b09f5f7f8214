"""The contract's structs of the request log."""

from __future__ import annotations

from typing import Annotated

import msgspec

from lapel.foundation.http.input.fields import Count, Timestamp


class RequestActor(msgspec.Struct, frozen=True, kw_only=True):
    """The caller: its kind, and the id of the API key, device, recording (of an upload token) or end user."""

    kind: Annotated[str, msgspec.Meta(examples=["key"])]
    id: str


class RequestSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One answered request, without its query, its headers and its body.

    `created_at` is the time at which the server had read the request's headers, and `duration_ms` the time
    from then until the answer began. `error_code` is null unless the answer tells an error.
    """

    request_id: str
    created_at: Timestamp
    method: str
    path: str
    status: int
    duration_ms: float
    actor: RequestActor
    address: str | None
    error_code: str | None


class MissedRequests(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests the stream has not shown, since the last such message, because there were too
    many."""

    count: Count


class LogStreamQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The filters of a stream of requests: it shows the requests that match all of them."""

    method: (
        Annotated[
            str,
            msgspec.Meta(
                max_length=100,
                description="Only requests with these methods, with commas between them.",
                examples=["POST,DELETE"],
            ),
        ]
        | None
    ) = None
    status: (
        Annotated[
            str,
            msgspec.Meta(
                max_length=200,
                description="Only answers with these statuses, with commas between them. `4xx` stands for "
                "all statuses from 400 to 499.",
                examples=["409,5xx"],
            ),
        ]
        | None
    ) = None
    path: (
        Annotated[
            str,
            msgspec.Meta(
                max_length=200,
                description="Only requests whose path begins with this text.",
                examples=["/v1/recordings"],
            ),
        ]
        | None
    ) = None
    actor: (
        Annotated[
            str,
            msgspec.Meta(
                max_length=64,
                description="Only requests of this caller: the id of a key, device, recording (of an upload "
                "token) or end user, or a kind: `key`, `device`, `upload` or `end_user`.",
                examples=["device"],
            ),
        ]
        | None
    ) = None
