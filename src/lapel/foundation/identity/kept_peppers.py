"""The peppers of all secrets that the installation has had, sealed in the database.

A hash cannot be made again without its token, so a token needs the pepper under which it was hashed for as
long as it lives. Each start keeps the peppers of the loaded secrets, and seals those of former secrets under
the present one. So keys and tokens outlive any number of changes of the secret, and a machine needs the
present and one other secret. docs/decisions/0045 gives the reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import msgspec

from lapel.foundation.database.rows import fetch_rows
from lapel.foundation.identity.seal import SealBroken, Sealer, secret_id, token_pepper

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from lapel.foundation.database.connection import Connection

LIST_PEPPERS = "SELECT secret_id, sealed_pepper FROM token_peppers ORDER BY kept_at DESC, secret_id"
KEEP_PEPPER = """
INSERT INTO token_peppers (secret_id, sealed_pepper, kept_at) VALUES ($1, $2, $3)
ON CONFLICT (secret_id) DO UPDATE SET sealed_pepper = excluded.sealed_pepper
"""


class PepperRow(msgspec.Struct, frozen=True):
    """The pepper of one secret, sealed."""

    secret_id: str
    sealed_pepper: bytes


async def former_peppers(connection: Connection, sealer: Sealer) -> dict[str, bytes]:
    """The peppers that can be opened, by the id of their secret, the newest first.

    None before schema 0062, which `lapel migrate` or the next start brings.
    """
    try:
        rows = await fetch_rows(connection, PepperRow, LIST_PEPPERS)
    except asyncpg.UndefinedTableError:
        return {}
    opened = ((row.secret_id, _open(sealer, row)) for row in rows)
    return {secret: pepper for secret, pepper in opened if pepper is not None}


async def keep_peppers(connection: Connection, sealer: Sealer, loaded: Iterable[str], now: datetime) -> None:
    """Keep the peppers of the loaded secrets, and seal every pepper that can be opened under the present one.

    Call it in the turn of `installation_secret.take_turn`.
    """
    rows = await fetch_rows(connection, PepperRow, LIST_PEPPERS)
    present = Sealer(sealer.keys[:1])
    peppers = {row.secret_id: _open(sealer, row) for row in rows}
    peppers |= {secret_id(each): token_pepper(each) for each in loaded}
    done = {row.secret_id for row in rows if _open(present, row) == peppers[row.secret_id]}
    for secret, pepper in peppers.items():
        if pepper is not None and secret not in done:
            await connection.execute(KEEP_PEPPER, secret, present.seal(pepper, _context(secret)), now)


def _open(sealer: Sealer, row: PepperRow) -> bytes | None:
    try:
        return sealer.open(row.sealed_pepper, _context(row.secret_id))
    except SealBroken:
        return None


def _context(secret: str) -> bytes:
    return f"token-pepper:{secret}".encode()
