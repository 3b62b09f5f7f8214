"""The contract's structs of the audit log."""

from __future__ import annotations

from typing import Annotated

import msgspec

from lapel.foundation.http.input.fields import Timestamp
from lapel.foundation.http.input.pagination import PageQuery


class AuditActor(msgspec.Struct, frozen=True, kw_only=True):
    """The actor of a change: the holder of a token, or the operator on the command line (without an id)."""

    kind: Annotated[str, msgspec.Meta(examples=["key"])]
    id: str | None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change.

    `before` and `after` are the changed override, or the changed provider slot, before and after the change.
    Null means that there was none, or that the values were erased with their end user.
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
    created_at: Timestamp


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the audit log, newest first."""

    data: list[AuditEntry]
    has_more: bool
    next_cursor: str | None


class AuditQuery(PageQuery, frozen=True, kw_only=True):
    """The filters of the audit log."""

    resource_type: (
        Annotated[str, msgspec.Meta(description="Only changes to resources of this type.")] | None
    ) = None
    resource_id: (
        Annotated[str, msgspec.Meta(description="Only changes to the resource with this id.")] | None
    ) = None
