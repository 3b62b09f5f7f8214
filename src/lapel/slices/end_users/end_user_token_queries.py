"""The look-up of end-user tokens. It takes no world, because the token determines it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from lapel.foundation.database.rows import fetch_found
from lapel.foundation.identity.token_kinds import TOKENS, Found, HolderRow, TokenKind, actor_of, arrays_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.token_kinds import LookUp

PREFIX: Final = "eut"


class EndUserTokenHolderRow(HolderRow, frozen=True):
    """A working end-user token. `id` is the end user's id."""

    expires_at: datetime | None


FIND_END_USER = f"""
SELECT asked.place, t.world_id, t.end_user_id AS id, w.project_id, w.mode, t.expires_at
FROM {TOKENS}
JOIN end_user_tokens t ON t.token_hash = asked.token_hash
JOIN end_users e ON e.world_id = t.world_id AND e.id = t.end_user_id
JOIN worlds w ON w.id = t.world_id
LEFT JOIN api_keys k ON k.world_id = t.world_id AND k.id = t.issued_by
WHERE e.deleted_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > asked.moment)
  AND k.issued_revoked_at IS NULL
"""


async def _find(connection: Connection, asked: Sequence[LookUp]) -> list[Found | None]:
    rows = await fetch_found(connection, EndUserTokenHolderRow, FIND_END_USER, len(asked), *arrays_of(asked))
    return [None if row is None else _found(row) for row in rows]


def _found(row: EndUserTokenHolderRow) -> Found:
    return Found(actor_of(row, "end_user", end_user_id=row.id, expires_at=row.expires_at))


END_USER_TOKEN = TokenKind(
    name="end_user",
    prefixes=(PREFIX,),
    find=_find,
    unknown="This token is unknown, revoked or expired.",
    holder="an end-user token",
    scheme="endUserToken",
    description=f"An end user's token (`{PREFIX}_`): it reads that end user's own data.",
)
