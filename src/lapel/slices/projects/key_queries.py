"""The look-up of API keys. It takes no world, because the key determines it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from lapel.foundation.core.actors import Mode
from lapel.foundation.database.rows import fetch_found
from lapel.foundation.identity.token_kinds import TOKENS, Found, HolderRow, TokenKind, actor_of, arrays_of
from lapel.slices.projects.scopes import Scope, granted
from lapel.slices.projects.wire import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.token_kinds import LookUp

PREFIXES: Final[dict[tuple[Kind, Mode], str]] = {
    ("secret", "live"): "sk_live",
    ("secret", "test"): "sk_test",
    ("restricted", "live"): "rk_live",
    ("restricted", "test"): "rk_test",
}


class KeyHolderRow(HolderRow, frozen=True):
    """A key that works."""

    kind: Kind
    scopes: list[Scope]
    end_user_id: str | None
    expires_at: datetime | None


FIND_KEY = f"""
SELECT asked.place, k.world_id, k.id, w.project_id, w.mode, k.kind, k.scopes, k.end_user_id, k.expires_at
FROM {TOKENS}
JOIN api_keys k ON k.secret_hash = asked.token_hash
JOIN worlds w ON w.id = k.world_id
WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > asked.moment)
"""


async def _find(connection: Connection, asked: Sequence[LookUp]) -> list[Found | None]:
    rows = await fetch_found(connection, KeyHolderRow, FIND_KEY, len(asked), *arrays_of(asked))
    return [None if row is None else _found(row) for row in rows]


def _found(row: KeyHolderRow) -> Found:
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
