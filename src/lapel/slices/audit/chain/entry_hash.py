"""The bytes of an entry, and the hash by which the chain holds it.

Each hash covers the hash before it, so a change of one entry changes all later hashes: a hash chain, as in
Schneier and Kelsey, "Secure Audit Logs to Support Computer Forensics" (ACM TISSEC 2(2), 1999).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import timestamp

if TYPE_CHECKING:
    from lapel.slices.audit.chain.chain_queries import ChainedEntry

HASH_BYTES = 32
BEGINNING = bytes(HASH_BYTES)
"""The hash before the first entry."""

_encode = msgspec.json.Encoder().encode


def entry_bytes(entry: ChainedEntry) -> bytes:
    """The JSON array of an entry, without spaces, from the values that the API shows. The end user's part of
    the entry is in it as its hash only."""
    return _encode(
        (
            entry.id,
            timestamp(entry.created_at),
            entry.actor_kind,
            entry.actor_id,
            entry.action,
            entry.resource_type,
            entry.resource_id,
            entry.request_id,
            entry.details_hash.hex(),
        )
    )


def next_hash(previous: bytes, entry: ChainedEntry) -> bytes:
    """The entry's hash in the chain: SHA-256 of the previous hash (32 bytes) and the entry's bytes."""
    return hashlib.sha256(previous + entry_bytes(entry)).digest()
