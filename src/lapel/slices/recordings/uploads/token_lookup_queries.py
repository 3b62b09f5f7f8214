"""The look-up of upload tokens. It takes no world, because the token determines it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from lapel.foundation.database.rows import fetch_found
from lapel.foundation.identity.token_kinds import TOKENS, Found, HolderRow, TokenKind, actor_of, arrays_of
from lapel.slices.recordings.access import PRESENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.token_kinds import LookUp

PREFIX: Final = "up"


class UploadHolderRow(HolderRow, frozen=True):
    """A working upload token. `id` is the recording's id."""

    expires_at: datetime
    issued_by: str | None


FIND_UPLOAD = f"""
SELECT asked.place, t.world_id, t.recording_id AS id, w.project_id, w.mode, t.expires_at, t.issued_by
FROM {TOKENS}
JOIN upload_tokens t ON t.token_hash = asked.token_hash
JOIN worlds w ON w.id = t.world_id
LEFT JOIN api_keys k ON k.world_id = t.world_id AND k.id = t.issued_by
WHERE t.expires_at > asked.moment AND k.issued_revoked_at IS NULL AND (
    SELECT {PRESENT} FROM recordings r
    WHERE r.world_id = t.world_id AND r.id = t.recording_id)
"""


async def _find(connection: Connection, asked: Sequence[LookUp]) -> list[Found | None]:
    rows = await fetch_found(connection, UploadHolderRow, FIND_UPLOAD, len(asked), *arrays_of(asked))
    return [None if row is None else _found(row) for row in rows]


def _found(row: UploadHolderRow) -> Found:
    return Found(actor_of(row, "upload", expires_at=row.expires_at, issued_by=row.issued_by))


UPLOAD_TOKEN = TokenKind(
    name="upload",
    prefixes=(PREFIX,),
    find=_find,
    unknown="This token is unknown, revoked or expired.",
    holder="an upload token",
    scheme="uploadToken",
    description=f"A token for one recording's upload (`{PREFIX}_`), valid for 24 hours.",
)
