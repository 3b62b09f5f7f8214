"""The look-up of API keys. It takes no world, because the key determines it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from lapel.foundation.core.actors import Mode
from lapel.foundation.database.rows import fetch_row
from lapel.foundation.identity.token_kinds import Found, TokenKind, actor_of
from lapel.slices.projects.scopes import Scope, granted
from lapel.slices.projects.wire import Kind

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

PREFIXES: Final[dict[tuple[Kind, Mode], str]] = {
    ("secret", "live"): "sk_live",
    ("secret", "test"): "sk_test",
    ("restricted", "live"): "rk_live",
    ("restricted", "test"): "rk_test",
}


class KeyHolderRow(msgspec.Struct, frozen=True):
    """A key that works."""

    world_id: int
    id: str
    kind: Kind
    scopes: list[Scope]
    end_user_id: str | None
    expires_at: datetime | None
    project_id: str
    mode: Mode


FIND_KEY = """
SELECT k.world_id, k.id, k.kind, k.scopes, k.end_user_id, k.expires_at, w.project_id, w.mode
FROM api_keys k JOIN worlds w ON w.id = k.world_id
WHERE k.secret_hash = ANY($1::bytea[]) AND k.revoked_at IS NULL
  AND (k.expires_at IS NULL OR k.expires_at > $2)
"""


async def _find(connection: Connection, hashes: list[bytes], now: datetime) -> Found | None:
    row = await fetch_row(connection, KeyHolderRow, FIND_KEY, hashes, now)
    if row is None:
        return None
    actor = actor_of(
        row,
        "key",
        scopes=granted(row.scopes),
        end_user_id=row.end_user_id,
        space="keys" if row.end_user_id is None else f"end_user:{row.end_user_id}",
    )
    return Found(actor, row.expires_at, every_scope=row.kind == "secret")


API_KEY = TokenKind(
    name="key",
    prefixes=tuple(PREFIXES.values()),
    find=_find,
    unknown="This key is unknown, revoked or expired.",
    holder="a key",
    scheme="key",
    description="A secret key (`sk_live_`, `sk_test_`) or a restricted key (`rk_live_`, `rk_test_`).",
    cached=True,
)
