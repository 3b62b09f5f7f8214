"""Checkpoints: signed statements of the hash that a chain had at a number.

Who can write into the database, but does not have LAPEL_SECRET, could compute a whole chain anew; but cannot
sign its checkpoints. A checkpoint also covers the text of the checkpoint before it, so none can be left out.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import msgspec
import structlog

from lapel.foundation.core.actors import Mode
from lapel.slices.audit.chain import chain_queries
from lapel.slices.audit.chain.chain_queries import CheckpointRow

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.signing import Signer

# A checkpoint is due after this many entries, or after this time if there is a new entry.
EVERY_ENTRIES = 1000
EVERY = timedelta(hours=1)

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class CheckpointClaims(msgspec.Struct, frozen=True, kw_only=True):
    """The claims of a checkpoint's JWT. `hash` is the chain's at `number`; `previous` is SHA-256 of the token
    of the checkpoint before it. Both are hexadecimal. `iat` is in Unix seconds."""

    iss: Literal["lapel"] = "lapel"
    aud: Literal["audit-log"] = "audit-log"
    project: str
    world: Mode
    position: int
    number: int
    hash: str
    previous: str | None
    iat: int


_decode = msgspec.json.Decoder(CheckpointClaims).decode


def signed_claims(signer: Signer, token: str) -> CheckpointClaims | None:
    """The claims of a checkpoint; None when no key of the server signed it."""
    claims = signer.opened(token)
    try:
        return None if claims is None else _decode(claims)
    except msgspec.DecodeError:
        return None


def unsigned_claims(token: str) -> CheckpointClaims | None:
    """The claims of a checkpoint whose signature nobody checked; None when it is no checkpoint."""
    try:
        payload = token.split(".")[1]
        return _decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, msgspec.DecodeError):
        return None


def token_hash(token: str) -> str:
    """What the next checkpoint tells of this one."""
    return hashlib.sha256(token.encode()).hexdigest()


async def make_checkpoint(
    connection: Connection, signer: Signer, world_id: int, now: datetime
) -> CheckpointRow | None:
    """Sign the chain as it is, if a checkpoint is due; the caller has locked the chain.

    A checkpoint is due after 1,000 entries, after an hour with an entry, and when the server's key changed.
    Nothing is signed on top of a checkpoint that no key of the server signed, or that the chain contradicts:
    such a chain was tampered with, and a signature would hide it.
    """
    tip = await chain_queries.read_tip(connection, world_id)
    before = await chain_queries.newest_checkpoint(connection, world_id)
    if tip is None or not _is_due(before, tip.number, now, signer.head):
        return None
    if before is not None:
        claims = signed_claims(signer, before.token)
        link = await chain_queries.read_hash(connection, world_id, before.number)
        if claims is None or link is None or claims.hash != link.hex() or claims.number != before.number:
            _log.error("audit.chain_broken", world=world_id, number=before.number, run="lapel audit verify")
            return None
    name = await chain_queries.read_name(connection, world_id)
    claims = CheckpointClaims(
        project=name.project_id,
        world=name.mode,
        position=1 if before is None else before.position + 1,
        number=tip.number,
        hash=tip.hash.hex(),
        previous=None if before is None else token_hash(before.token),
        iat=int(now.timestamp()),
    )
    made = CheckpointRow(claims.position, claims.number, now, signer.sign(claims))
    await chain_queries.insert_checkpoint(connection, world_id, made)
    return made


def _is_due(before: CheckpointRow | None, number: int, now: datetime, head: str) -> bool:
    if before is None or not before.token.startswith(head):
        return True
    added = number - before.number
    return added >= EVERY_ENTRIES or (added > 0 and now - before.created_at >= EVERY)
