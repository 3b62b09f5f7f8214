"""A database with many recordings, made by PostgreSQL itself in seconds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from lapel.foundation import seal
from lapel.foundation.tokens import hint, new_token

PROJECT = "proj_0VxBenchmarksProject0000"

_TENANT = """
INSERT INTO organizations (id, name, created_at) VALUES ('org_0VxBenchmarks', 'Benchmarks', now());
INSERT INTO projects (id, organization_id, name, created_at)
VALUES ('proj_0VxBenchmarksProject0000', 'org_0VxBenchmarks', 'Benchmarks', now());
INSERT INTO worlds (project_id, mode) VALUES ('proj_0VxBenchmarksProject0000', 'live');
"""
_KEY = """
INSERT INTO api_keys (world_id, id, secret_hash, kind, hint, scopes, created_at)
VALUES ($1, $2, $3, 'secret', $4, '{}', now())
"""
_END_USERS = """
INSERT INTO end_users (world_id, id, created_at, updated_at)
SELECT $1, 'eu_' || lpad(i::text, 24, '0'), now(), now() FROM generate_series(0, $2 / 20) i
"""
# Ids ascend with time and end at random, as ours do.
_RECORDINGS = """
INSERT INTO recordings (world_id, id, end_user_id, name, status, source, started_at, ended_at, recorded_at,
    duration_ms, content_sha256, content_sha256_verified_at, file_size_bytes, mime_type, consent_obtained,
    created_at, updated_at, uploaded_at)
SELECT $1, 'rec_' || lpad(i::text, 8, '0') || substr(md5('r' || i), 1, 16),
    'eu_' || lpad((i * 7919 % ($2 / 20 + 1))::text, 24, '0'), 'Conversation ' || i, 'uploaded', 'device',
    t, t + interval '25 s', t, 25000, repeat(md5('h' || i), 2), t, 100000, 'audio/ogg', true, t, t, t
FROM generate_series(1, $2::bigint) i, LATERAL (SELECT $3::timestamptz + i * interval '7 s' AS t) at
"""
_MEDIA = """
INSERT INTO media (world_id, id, recording_id, type, status, content_type, file_size_bytes, sha256,
    object_key, duration_ms, created_at, uploaded_at, last_url_expires_at, reconcile_at)
SELECT r.world_id, m.id, r.id, 'audio', 'uploaded', 'audio/ogg', 100000, r.content_sha256,
    'media/' || $2::text || '/' || r.id || '/' || m.id || '/att_' || substr(m.id, 5) || '/audio.ogg',
    25000, r.created_at, r.created_at, r.created_at, r.created_at
FROM recordings r, LATERAL (SELECT 'med_' || substr(r.id, 5) AS id) m WHERE r.world_id = $1
"""
_SAMPLE = """
SELECT recording_id, id FROM media WHERE world_id = $1 ORDER BY md5(id) LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class Filled:
    """What clients need to know of a database: keys, and pairs of (recording id, media id) at random.

    `key` is Lapel's; `plain_key` is stored as its bare SHA-256, for the textbook peer.
    """

    key: str
    plain_key: str
    world_id: int
    media: list[tuple[str, str]]


async def fill(owner_dsn: str, secret: str, recordings: int, *, sample: int = 20_000) -> Filled:
    """Write so many recordings, each with one uploaded audio, into a freshly migrated database.

    `owner_dsn` is a superuser's: references hold by construction, so they are not checked row by row.
    """
    connection = await asyncpg.connect(owner_dsn)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(_TENANT)
        world_id: int = await connection.fetchval("SELECT id FROM worlds")
        key, plain_key = new_token("sk_live"), new_token("sk_live")
        hasher = seal.token_hasher(secret, None)
        plain_hash = hashlib.sha256(plain_key.encode()).digest()
        await connection.execute(_KEY, world_id, "key_lapel", hasher.hash(key), hint(key))
        await connection.execute(_KEY, world_id, "key_plain", plain_hash, hint(plain_key))
        await connection.execute(_END_USERS, world_id, recordings)
        await connection.execute(_RECORDINGS, world_id, recordings, datetime(2026, 1, 1, tzinfo=UTC))
        await connection.execute(_MEDIA, world_id, PROJECT)
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
        rows = await connection.fetch(_SAMPLE, world_id, sample)
    finally:
        await connection.close()
    return Filled(key, plain_key, world_id, [(row["recording_id"], row["id"]) for row in rows])
