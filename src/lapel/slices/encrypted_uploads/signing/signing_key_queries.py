"""All SQL of the keys that sign documents for devices. A key belongs to a project, to both of its worlds."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_only_value, fetch_row, fetch_rows, fetch_value

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.database.connection import Connection

# The lock ends with the transaction. So a rotation waits for the transactions that sign with the key.
FIND_ACTIVE = """
SELECT project_id, key_id, public_key, sealed_private_key FROM document_signing_keys
WHERE project_id = $1 AND activated_at IS NOT NULL AND retired_at IS NULL FOR SHARE
"""
LIST_OF_PROJECT = """
SELECT project_id, key_id, public_key, created_at, activated_at, retired_at FROM document_signing_keys
WHERE project_id = $1 ORDER BY key_id
"""
NEXT_KEY_ID = "SELECT coalesce(max(key_id), 0) + 1 FROM document_signing_keys WHERE project_id = $1"
# A project has at most one active and one prepared key. Waits for a transaction that inserts another one.
INSERT = """
INSERT INTO document_signing_keys
    (project_id, key_id, public_key, sealed_private_key, created_at, activated_at)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING key_id
"""
# A retired key signs nothing more, so its private key goes. Its public key stays for ever.
RETIRE = """
UPDATE document_signing_keys SET retired_at = $2, sealed_private_key = NULL
WHERE project_id = $1 AND activated_at IS NOT NULL AND retired_at IS NULL RETURNING key_id
"""
ACTIVATE = """
UPDATE document_signing_keys SET activated_at = $2
WHERE project_id = $1 AND activated_at IS NULL RETURNING key_id
"""
# Keys that can sign, or that will, batch by batch: those behind the key $1, $2.
LIST_SEALED_KEYS = """
SELECT project_id, key_id, public_key, sealed_private_key FROM document_signing_keys
WHERE retired_at IS NULL AND (project_id, key_id) > ($1, $2) ORDER BY project_id, key_id LIMIT $3
"""
# Not a key that was retired or sealed again meanwhile.
RESEAL = """
UPDATE document_signing_keys SET sealed_private_key = $4
WHERE project_id = $1 AND key_id = $2 AND sealed_private_key = $3
"""


class SealedKeyRow(msgspec.Struct, frozen=True):
    """A key with its private part. `public_key`: x and y, 64 bytes. Only a retired key has no private key."""

    project_id: str
    key_id: int
    public_key: bytes
    sealed_private_key: bytes | None


class PublicKeyRow(msgspec.Struct, frozen=True):
    """The public part of a key. `public_key`: x and y, 64 bytes."""

    project_id: str
    key_id: int
    public_key: bytes
    created_at: datetime
    activated_at: datetime | None
    retired_at: datetime | None


async def find_active(connection: Connection, project_id: str) -> SealedKeyRow | None:
    """The project's active key, which is locked against a rotation until the transaction ends."""
    return await fetch_row(connection, SealedKeyRow, FIND_ACTIVE, project_id)


async def list_of_project(connection: Connection, project_id: str) -> list[PublicKeyRow]:
    """All keys of a project, oldest first."""
    return await fetch_rows(connection, PublicKeyRow, LIST_OF_PROJECT, project_id)


async def next_key_id(connection: Connection, project_id: str) -> int:
    """The number of the project's next key."""
    return await fetch_only_value(connection, int, NEXT_KEY_ID, project_id)


async def insert(
    connection: Connection,
    key: SealedKeyRow,
    created_at: datetime,
    activated_at: datetime | None,
) -> bool:
    """Store a new key: active, or prepared (`activated_at` None).

    False, and nothing is stored, if the project has a key in this state, or if the number is taken.
    """
    values = (key.project_id, key.key_id, key.public_key, key.sealed_private_key, created_at, activated_at)
    return await fetch_value(connection, int, INSERT, *values) is not None


async def retire(connection: Connection, project_id: str, now: datetime) -> int | None:
    """Retire the project's active key. Returns its number; None: there was none."""
    return await fetch_value(connection, int, RETIRE, project_id, now)


async def activate(connection: Connection, project_id: str, now: datetime) -> int | None:
    """Activate the project's prepared key. Returns its number; None: there was none."""
    return await fetch_value(connection, int, ACTIVATE, project_id, now)


async def walk_sealed_keys(connection: Connection, batch: int = 1000) -> AsyncGenerator[list[SealedKeyRow]]:
    """The active and the prepared keys of all projects, so many in each batch."""
    after = ("", 0)
    while rows := await fetch_rows(connection, SealedKeyRow, LIST_SEALED_KEYS, *after, batch):
        yield rows
        after = (rows[-1].project_id, rows[-1].key_id)


async def reseal(key: SealedKeyRow, connection: Connection, sealed_private_key: bytes) -> None:
    """Replace a key's sealed private key, unless the row has another one than `key` by now."""
    values = (key.project_id, key.key_id, key.sealed_private_key, sealed_private_key)
    await connection.execute(RESEAL, *values)
