"""The contract's structs of commands and grants."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from lapel.foundation.http.input.fields import ClientObject, Timestamp
from lapel.foundation.http.input.pagination import PageQuery

Type: TypeAlias = Literal["start_recording", "stop_recording", "trigger_upload", "factory_reset"]
# `expired` is never stored: a `pending` or `delivered` command is `expired` after `expires_at`.
StoredStatus: TypeAlias = Literal["pending", "delivered", "executed", "failed", "cancelled"]
Status: TypeAlias = Literal["pending", "delivered", "executed", "failed", "expired", "cancelled"]

ObjectOrNull: TypeAlias = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": ["object", "null"]})]
_PARAMS: dict[str, Any] = {
    "type": "object",
    "required": ["max_duration_sec", "upload_immediately", "metadata"],
    "properties": {
        "max_duration_sec": {"type": "integer", "minimum": 1, "maximum": 86400},
        "upload_immediately": {"type": "boolean"},
        "metadata": {"type": "object"},
    },
}
StoredParams: TypeAlias = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=_PARAMS)]


class StoredCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command as in its row; the JSON of PostgreSQL's `to_jsonb` decodes to this struct too."""

    id: str
    device_id: str
    end_user_id: str
    binding_generation: int
    type: Type
    status: StoredStatus
    params: msgspec.Raw
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")
    expires_at: datetime | None
    delivered_at: datetime | None
    executed_at: datetime | None
    created_at: datetime


class PastCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command without its token, as the export of an end user has it. Fields as in Command."""

    id: str
    device_id: str
    project_id: str
    end_user_id: str
    type: Type
    status: Status
    params: StoredParams
    result: ObjectOrNull
    error: ObjectOrNull
    expires_at: Timestamp | None
    delivered_at: Timestamp | None
    executed_at: Timestamp | None
    created_at: Timestamp


class Command(PastCommand, frozen=True, kw_only=True):
    """A command to a device, and its result.

    `grant_token` is a JWT that the device can verify offline. `executed_at` is the time at which the device
    reported the result (a success or a failure), or at which a heartbeat showed that the command was done.
    `expires_at` is null for a command that never expires.
    """

    grant_token: str


class CommandPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of commands, newest first."""

    data: list[Command]
    has_more: bool
    next_cursor: str | None


class PendingCommands(msgspec.Struct, frozen=True, kw_only=True):
    """All open commands of a device, oldest first."""

    data: list[Command]
    has_more: Literal[False] = False
    next_cursor: None = None


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a command."""

    max_duration_sec: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 3600
    upload_immediately: bool = True
    metadata: ClientObject | None = None


class CreateCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command to send.

    If a command of the device has this `idempotency_key`, the same `type` and the same `params`, the answer
    is that command. With another `type` or other `params`, the answer is 422. Without `ttl_seconds`, a
    command expires after 300 s, but a `factory_reset` stays open until it is reported or cancelled.
    """

    type: Type
    params: Params | None = None
    idempotency_key: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None
    ttl_seconds: Annotated[int, msgspec.Meta(ge=30, le=86_400)] | None = None


class CommandQuery(PageQuery, frozen=True, kw_only=True):
    """The filters of the list of a device's commands."""

    status: Status | None = None


# What a report stores: status, result and error, the last two as JSON texts.
ReportedResult: TypeAlias = tuple[Literal["executed", "failed"], str | None, str | None]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The device's report of a command's result."""

    status: Literal["executed", "failed"]
    result: ClientObject | None = None
    error: ClientObject | None = None


class AskWifiGrant(msgspec.Struct, frozen=True, kw_only=True):
    """The lifetime of the grant."""

    expires_in_seconds: Annotated[int, msgspec.Meta(ge=60, le=3600)] = 900


class WifiGrant(msgspec.Struct, frozen=True, kw_only=True):
    """The permission to change a device's Wi-Fi: a JWT that the device verifies. It contains no password."""

    grant_blob: str
    expires_at: Timestamp


class GrantClaims(msgspec.Struct, frozen=True, kw_only=True):
    """The claims of a grant (RFC 7519); times are Unix seconds.

    `sub` is the device's id, which is unique over all projects. `aud` has the device's serial number, which
    another project may use too.
    """

    iss: Literal["lapel"] = "lapel"
    sub: str
    aud: str
    jti: str
    iat: int
    exp: int
    type: str
    params: msgspec.Raw
    project: str
    world: Literal["live", "test"]
    binding_generation: int
