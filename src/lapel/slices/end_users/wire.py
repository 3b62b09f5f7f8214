"""The contract's structs of end users."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from lapel.foundation.http.input.fields import ClientObject, Moment, Timestamp
from lapel.foundation.http.input.pagination import PageQuery

ExternalId: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=255, description="Your own id for this end user.", examples=["user-42"]
    ),
]
Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=255, examples=["Jane Roe"])]
Email: TypeAlias = Annotated[str, msgspec.Meta(max_length=255, examples=["jane@example.com"])]
Metadata: TypeAlias = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]


class EndUser(msgspec.Struct, frozen=True, kw_only=True):
    """One end user."""

    id: str
    external_id: str | None
    name: str | None
    email: str | None
    metadata: Metadata
    project_id: str
    created_at: Timestamp
    updated_at: Timestamp
    deleted_at: Timestamp | None


class EndUserPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of end users, newest first."""

    data: list[EndUser]
    has_more: bool
    next_cursor: str | None


class CreateEndUser(msgspec.Struct, frozen=True, kw_only=True):
    """An end user to add. All fields are optional."""

    external_id: ExternalId | None = None
    name: Name | None = None
    email: Email | None = None
    metadata: ClientObject | None = None


class UpdateEndUser(msgspec.Struct, frozen=True, kw_only=True):
    """Absent fields stay, null clears, `metadata` is replaced as a whole."""

    external_id: ExternalId | msgspec.UnsetType | None = msgspec.UNSET
    name: Name | msgspec.UnsetType | None = msgspec.UNSET
    email: Email | msgspec.UnsetType | None = msgspec.UNSET
    metadata: ClientObject | msgspec.UnsetType | None = msgspec.UNSET


class EndUserQuery(PageQuery, frozen=True, kw_only=True):
    """The filters of the list of end users."""

    external_id: (
        Annotated[str, msgspec.Meta(description="The end user with exactly this external id: 0 or 1 rows.")]
        | None
    ) = None


class IssueToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The end of the token. Without `expires_at`, it ends after 30 days, or as many as the operator has set,
    and no later than the issuing key. Null: never. An unknown field is refused."""

    expires_at: Moment | msgspec.UnsetType | None = msgspec.UNSET


class EndUserToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token for one end user's own data; only this answer shows it."""

    token: Annotated[str, msgspec.Meta(examples=["eut_…"])]
    expires_at: Timestamp | None
    connection_command: Annotated[
        str,
        msgspec.Meta(description="The command that adds this server's MCP endpoint to a desktop assistant."),
    ]


class EndUserTokenFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of an end user's token without the token. `issued_by`: the id of the key that issued it."""

    created_at: Timestamp
    expires_at: Timestamp | None
    issued_by: str | None
