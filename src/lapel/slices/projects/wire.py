"""The structs of projects and API keys."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import msgspec

from lapel.foundation.core.actors import Mode
from lapel.foundation.http.input.fields import Moment, Timestamp
from lapel.slices.projects.scopes import Scope

Kind: TypeAlias = Literal["secret", "restricted"]
KeyName: TypeAlias = Annotated[str, msgspec.Meta(max_length=128, examples=["ingest server"])]
Scopes: TypeAlias = Annotated[
    list[Scope], msgspec.Meta(min_length=1, max_length=100, examples=[["recordings:read"]])
]

DAY_SECONDS = 24 * 60 * 60


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """One project; its `live` and `test` worlds share nothing."""

    id: str
    organization_id: str
    name: str
    created_at: Timestamp


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key, without its secret."""

    id: str
    project_id: str
    mode: Mode
    kind: Kind
    name: str | None
    hint: Annotated[str, msgspec.Meta(description="The prefix and the last four characters of the key.")]
    scopes: list[Scope]
    end_user_id: str | None
    expires_at: Timestamp | None
    last_used_at: Timestamp | None
    revoked_at: Timestamp | None
    rotated_to: Annotated[str, msgspec.Meta(description="The id of the key that replaced this key.")] | None
    created_at: Timestamp


class CreatedApiKey(ApiKey, frozen=True, kw_only=True):
    """A new key and its secret; only this answer shows the secret."""

    key: Annotated[str, msgspec.Meta(examples=["rk_test_…"])]


class RotatedApiKey(CreatedApiKey, frozen=True, kw_only=True):
    """A new key that replaces another key; only this answer shows its secret."""

    replaced_id: str
    replaced_works_until: Timestamp


class ApiKeyPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of keys, newest first."""

    data: list[ApiKey]
    has_more: bool
    next_cursor: str | None


class TokenFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The caller's own token, without the token."""

    kind: Annotated[
        str,
        msgspec.Meta(
            description="A key's kind (`secret`, `restricted`), or the holder of another token (`device`, "
            "`upload`, `end_user`)."
        ),
    ]
    id: Annotated[str, msgspec.Meta(description="The id of the key; other tokens have none.")] | None = None
    name: str | None = None
    project_id: str
    mode: Mode
    scopes: Annotated[
        list[Scope],
        msgspec.Meta(
            description="The scopes that the key was made with. What another token may do follows from its "
            "kind, so it has none."
        ),
    ] = []
    end_user_id: (
        Annotated[
            str,
            msgspec.Meta(description="The end user of a scoped key, an end-user token or a bound device."),
        ]
        | None
    ) = None
    device_id: Annotated[str, msgspec.Meta(description="The device of a device token.")] | None = None
    recording_id: Annotated[str, msgspec.Meta(description="The recording of an upload token.")] | None = None
    expires_at: Annotated[Timestamp, msgspec.Meta(description="Null: the token does not expire.")] | None = (
        None
    )


class CreateApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to create: a restricted key with these `scopes`, or with `kind: secret` a key with all scopes.

    An unknown field is refused, because without the misspelled one the key would be broader or live longer.
    """

    json_rules: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {
                "required": ["scopes"],
                "properties": {"kind": {"const": "restricted"}, "scopes": {"type": "array"}},
            },
            {
                "required": ["kind"],
                "properties": {
                    "kind": {"const": "secret"},
                    "scopes": {"type": "null"},
                    "end_user_id": {"type": "null"},
                },
            },
        ]
    }

    kind: Kind = "restricted"
    scopes: Scopes | None = None
    end_user_id: (
        Annotated[
            str, msgspec.Meta(min_length=1, description="The end user to whose data the key is restricted.")
        ]
        | None
    ) = None
    expires_at: Moment | None = None
    name: KeyName | None = None


class RevokeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The extent of a revocation."""

    issued: Annotated[
        bool,
        msgspec.Meta(
            description="Also revoke the end-user tokens and upload tokens that the key issued, and disable "
            "the webhooks that it registered, gave their URL or enabled."
        ),
    ] = False


class RotateApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the old key continues to work, beside the new key; 0 ends the old key at once.

    An unknown field is refused.
    """

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=30 * DAY_SECONDS)] = DAY_SECONDS
