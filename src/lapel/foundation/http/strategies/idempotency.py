"""Idempotency keys: the answer is stored in the transaction of the effect, so both exist or neither does.

A request holds `pg_try_advisory_xact_lock` while it runs; if its process is killed, PostgreSQL releases the
lock and rolls everything back. The header and the statuses 409 and 422 are those of the IETF draft
"The Idempotency-Key HTTP Header Field" (draft-ietf-httpapi-idempotency-key-header).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import IdempotencyKeyInUse, IdempotencyKeyReused, InvalidRequest, NotFound
from lapel.foundation.database.batches import deleting_some
from lapel.foundation.http.calls import Reply
from lapel.foundation.identity.seal import SealBroken

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.calls import Answer, Params
    from lapel.foundation.http.responses import Headers
    from lapel.foundation.identity.seal import Sealer

_KEY = re.compile(r"[A-Za-z0-9_-]{1,255}\Z")

TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1)"
LOCK = "SELECT pg_advisory_xact_lock($1)"
# `erased`: the answer is blank, or it is about a deleted end user, so `erase_some_answers` will blank it.
FIND = """
SELECT k.fingerprint, k.status, k.sealed_body, k.sealed_body = '' OR EXISTS (
    SELECT 1 FROM end_users e
    WHERE e.world_id = k.world_id AND e.id = k.end_user_id AND e.deleted_at IS NOT NULL) AS erased
FROM idempotency_keys k
WHERE k.world_id = $1 AND k.principal = $2 AND k.key = $3 AND k.created_at > $4
"""
STORE = """
INSERT INTO idempotency_keys
    (world_id, principal, key, fingerprint, status, sealed_body, created_at, end_user_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (world_id, principal, key) DO UPDATE
SET fingerprint = excluded.fingerprint, status = excluded.status, sealed_body = excluded.sealed_body,
    created_at = excluded.created_at, end_user_id = excluded.end_user_id
"""

# Keep the row and drop only the answer: with the row gone, a repeated request would run again.
BLANK = """
WITH locked AS MATERIALIZED (
    SELECT ctid FROM idempotency_keys WHERE world_id = $1 AND end_user_id = $2 LIMIT $3 FOR UPDATE
), blank AS (
    UPDATE idempotency_keys SET sealed_body = '', end_user_id = NULL
    WHERE ctid = ANY(ARRAY(SELECT ctid FROM locked)) AND world_id = $1
)
SELECT count(*) FROM locked
"""
PRUNE_ANSWERS = """
DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT $2
    FOR UPDATE SKIP LOCKED))
"""
# The end user's own tokens and keys are revoked, so their requests cannot be repeated: delete the rows.
FORGET = deleting_some(
    "idempotency_keys",
    "SELECT ctid FROM idempotency_keys WHERE world_id = $1 AND principal = 'end_user:' || $2::text "
    "LIMIT $3 FOR UPDATE",
)

# How long an answer is kept for repeats of its request.
KEEP_ANSWERS = timedelta(hours=24)
# The header of an answer that an earlier request with the same key has made.
REPLAYED: Headers = ((b"idempotent-replayed", b"true"),)


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The status and the encoded body of an earlier answer."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request's claim on one key."""

    world_id: int
    principal: str
    key: str
    fingerprint: bytes

    @property
    def _context(self) -> bytes:
        return f"idempotency:{self.world_id}:{self.principal}:{self.key}".encode()

    @property
    def digest(self) -> bytes:
        """Identifies the key, its principal and its world: 32 bytes."""
        return hashlib.blake2b(self._context, digest_size=32).digest()

    @property
    def _lock(self) -> int:
        digest = hashlib.blake2b(self._context, digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)

    async def claim(
        self, connection: Connection, sealer: Sealer, now: datetime, keep: timedelta
    ) -> StoredAnswer | None:
        """Claim the key, inside the effect's transaction and before the effect.

        Returns the earlier answer, or None when there is none. `keep`: how long answers are kept.

        Raises IdempotencyKeyInUse while another request holds the key, IdempotencyKeyReused when the key
        belongs to a different request or its answer can no longer be decrypted, NotFound when the answer was
        erased.
        """
        if not await connection.fetchval(TRY_LOCK, self._lock):
            raise IdempotencyKeyInUse
        row = await connection.fetchrow(FIND, self.world_id, self.principal, self.key, now - keep)
        if row is None:
            return None
        if row["fingerprint"] != self.fingerprint:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used with another method, path or body. Use a new key."
            )
        if row["erased"]:
            raise NotFound("The resource that was made with this Idempotency-Key is deleted.")
        try:
            return StoredAnswer(row["status"], sealer.open(row["sealed_body"], self._context))
        except SealBroken as error:  # the server's secret has changed twice since then
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used, and its answer can no longer be read. Use a new key."
            ) from error

    async def hold(self, connection: Connection) -> None:
        """Hold the key until the transaction ends. Waits while another transaction holds it."""
        await connection.execute(LOCK, self._lock)

    async def store(
        self,
        connection: Connection,
        sealer: Sealer,
        now: datetime,
        answer: StoredAnswer,
        end_user_id: str | None,
    ) -> None:
        """Store the answer, in the same transaction and after the effect.

        `end_user_id`: the answer is erased when this end user is deleted.
        """
        sealed = sealer.seal(answer.body, self._context)
        await connection.execute(
            STORE,
            self.world_id,
            self.principal,
            self.key,
            self.fingerprint,
            answer.status,
            sealed,
            now,
            end_user_id,
        )


async def erase_some_answers(connection: Connection, world_id: int, end_user_id: str, limit: int) -> int:
    """Erase at most `limit` answers that a deleted end user got, or that are about this end user.

    Returns the number of erased answers; 0 when none is left.
    """
    forgotten: int = await connection.fetchval(FORGET, world_id, end_user_id, limit)
    return forgotten or await connection.fetchval(BLANK, world_id, end_user_id, limit)


def end_user_of(answer: Answer, params: Params) -> str | None:
    """The id of an answer's end user: its `end_user_id`, else the path's, else the answer's own `id`."""
    body = answer.body if isinstance(answer, Reply) else answer
    named = (getattr(body, "end_user_id", None), params.get("end_user_id"), getattr(body, "id", None))
    return next((each for each in named if isinstance(each, str) and each.startswith("eu_")), None)


def read_key(header: bytes | None) -> str | None:
    """The key of an `Idempotency-Key` header. Raises InvalidRequest for a malformed key."""
    if header is None:
        return None
    text = header.decode("latin-1")
    if not _KEY.match(text):
        raise InvalidRequest(
            "`Idempotency-Key` takes 1 to 255 characters of A-Z, a-z, 0-9, _ and -.", param="Idempotency-Key"
        )
    return text


def ticket(actor: Actor, key: str, method: str, path: str, body: bytes) -> Ticket:
    """The claim of a request on a key; a repeat must have the same method, path and body."""
    fingerprint = hashlib.sha256(f"{method} {path}\n".encode() + body).digest()
    return Ticket(actor.world_id, actor.principal, key, fingerprint)
