"""The contract's structs of the audit log."""

from __future__ import annotations

from typing import Annotated

import msgspec

from lapel.foundation.http.input.fields import Moment, Timestamp
from lapel.foundation.http.input.pagination import PageQuery

ACTION = r"^[a-z_]+\.[a-z_]+\Z"
"""The pattern of an action."""


class AuditActor(msgspec.Struct, frozen=True, kw_only=True):
    """The actor of a change: the holder of a token, a speech service, the operator on the command line, or
    the server itself."""

    kind: Annotated[
        str,
        msgspec.Meta(
            description="`key`, `device`, `upload` (an upload token), `end_user` (an end-user token), "
            "`operator` (a command of `lapel`), `provider` (a speech service) or `system` (the server "
            "itself, when it disables a webhook or halts a rollout).",
            examples=["key"],
        ),
    ]
    id: Annotated[
        str | None,
        msgspec.Meta(
            description="The id of the API key, device or end user; of an upload token: its recording; "
            "of a provider: its slot; of the server: `webhooks` or `firmware`; null for the operator."
        ),
    ]


class ChainLink(msgspec.Struct, frozen=True, kw_only=True):
    """An entry's place in the chain of its world.

    `hash` is SHA-256, in hexadecimal, of the hash of the entry before and of this entry; docs/audit.md names
    the bytes.
    """

    number: int
    hash: str


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change.

    `before` and `after` are values that changed: those of configurations, provider slots, API keys, webhooks
    and legal holds. Null means that there were none, that the entry has no values, or that they were erased
    with their end user. Then `address`, the address of the client, was erased too. `details_hash` is the
    hash of `salt`, values and address. `chain` is null until a worker has chained the entry, within a minute.
    """

    id: str
    project_id: str
    actor: AuditActor
    action: Annotated[str, msgspec.Meta(examples=["config.updated"])]
    resource_type: Annotated[str, msgspec.Meta(examples=["device"])]
    resource_id: str | None
    before: msgspec.Raw
    after: msgspec.Raw
    request_id: str | None
    address: Annotated[str | None, msgspec.Meta(examples=["203.0.113.9"])]
    created_at: Timestamp
    details_hash: str
    salt: str | None
    chain: ChainLink | None


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the audit log, newest first."""

    data: list[AuditEntry]
    has_more: bool
    next_cursor: str | None


_Since = Annotated[Moment, msgspec.Meta(description="Only changes at this time or later.")]
_Until = Annotated[Moment, msgspec.Meta(description="Only changes before this time.")]


class AuditQuery(PageQuery, frozen=True, kw_only=True):
    """The filters of the audit log."""

    resource_type: (
        Annotated[
            str,
            msgspec.Meta(
                pattern=r"^[a-z_]{1,64}\Z",
                description="Only changes to resources of this type.",
                examples=["end_user"],
            ),
        ]
        | None
    ) = None
    resource_id: (
        Annotated[str, msgspec.Meta(description="Only changes to the resource with this id.")] | None
    ) = None
    actor: (
        Annotated[
            str,
            msgspec.Meta(
                description="Only changes by the actor with this id. `operator`: only changes by commands "
                "of `lapel`."
            ),
        ]
        | None
    ) = None
    action: (
        Annotated[
            str,
            msgspec.Meta(pattern=ACTION, description="Only this action.", examples=["config.updated"]),
        ]
        | None
    ) = None
    since: _Since | None = None
    until: _Until | None = None


class AuditExportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The time range of an export."""

    since: _Since | None = None
    until: _Until | None = None
