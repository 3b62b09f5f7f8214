"""API keys over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.input.pagination import PageQuery
from lapel.foundation.http.routes import Routes
from lapel.slices.projects.wire import (
    ApiKeyPage,
    CreateApiKey,
    CreatedApiKey,
    RevokeQuery,
    RotateApiKey,
    RotatedApiKey,
    TokenFacts,
)

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.projects.service import Keys

# With `end_user_keys:write`, a caller manages only keys that are scoped to end users: see `service.py`.
_OWN = Access("keys:write", end_user_keys="filter", or_scope="end_user_keys:write")
_IMPLIED = replace(_OWN, end_user_keys="imply")
# A caller needs no scope to learn which scopes it has.
_ITSELF = Access(None, frozenset({"key", "device", "upload", "end_user"}), "filter")


def operations(service: Keys) -> tuple[Operation, ...]:
    """All routes of API keys."""
    keys = Routes("API keys", read=_OWN, write=_OWN)
    return (
        keys.get("/v1/whoami", "describe_caller", TokenFacts, access=_ITSELF).plain(
            "Describe the token of this request",
            lambda call: service.describe(call.actor),
            "Its kind, project and world, its scopes, the end user, device or recording to which it is "
            "restricted, and its end. Without the token.",
        ),
        keys.post("/v1/api-keys", "create_api_key", CreatedApiKey, CreateApiKey, access=_IMPLIED).stored(
            "Create a key",
            lambda call: service.create(call.connection, call.actor, call.body),
            "The new key is for the world of the calling key. If the calling key is scoped to one end user, "
            "so is the new key. The new key must not have more scopes or end later than the calling key. "
            "With `end_user_keys:write` in place of `keys:write`, a key makes and manages only keys that are "
            "scoped to an end user. Only this answer shows the new key.",
            status=201,
            replay=lambda call, created: service.replayed(call.actor, created),
            audit="key.created",
        ),
        keys.get("/v1/api-keys", "list_api_keys", ApiKeyPage, PageQuery).plain(
            "List keys, newest first",
            lambda call: service.list(call.actor, call.query),
            "Shows each key with a hint, its scopes, its last use and its end, but without its secret.",
        ),
        keys.delete("/v1/api-keys/{key_id}", "revoke_api_key", query=RevokeQuery).plain(
            "Revoke a key",
            lambda call: service.revoke(call.actor, call.id, issued=call.query.issued),
            "From this answer on, every process refuses the key. Revoking it again has no effect. If "
            "`issued` is true, the tokens that the key issued end too, and the webhooks that it registered, "
            "gave their URL or enabled are disabled; otherwise all of them continue to work.",
            audit="key.revoked",
        ),
        keys.post("/v1/api-keys/{key_id}/rotate", "rotate_api_key", RotatedApiKey, RotateApiKey).stored(
            "Replace a key by a new one",
            lambda call: service.rotate(call.connection, call.actor, call.id, call.body),
            "Both keys work for `overlap_seconds` (default: a day); 0 ends the old key at once. 409 if the "
            "key has ended. 409 with the successor's id if the key was rotated before and its successor "
            "still works.",
            status=201,
            errors=(Conflict,),
            replay=lambda call, rotated: service.replayed(
                call.actor, rotated, of_caller=call.id == call.actor.id
            ),
            audit="key.rotated",
        ),
    )
