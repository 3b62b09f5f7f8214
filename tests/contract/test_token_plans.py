"""Each token is found by its index, however many tokens, holders and worlds there are."""

from __future__ import annotations

from lapel.slices.devices.tokens.lookup_queries import FIND_DEVICE
from lapel.slices.end_users.end_user_token_queries import FIND_END_USER
from lapel.slices.projects.key_queries import FIND_KEY
from lapel.slices.recordings.uploads.token_lookup_queries import FIND_UPLOAD
from tests.support.plans import filled, indexes_of

# 2,000 worlds. The first one has 10,000 keys, end users, devices and recordings, and a token of each.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects SELECT 'proj_' || n, 'org_1', 'x', now() FROM generate_series(1, 2000) n;
INSERT INTO worlds (project_id, mode) SELECT id, 'live' FROM projects;
CREATE TEMPORARY TABLE many AS
    SELECT (SELECT min(id) FROM worlds) AS world, n FROM generate_series(1, 10000) n;
INSERT INTO api_keys (world_id, id, secret_hash, kind, hint, scopes, created_at)
    SELECT world, 'key_' || n, sha256(n::text::bytea), 'restricted', 'rk', '{}', now() FROM many;
INSERT INTO end_users (world_id, id, created_at, updated_at) SELECT world, 'eu_' || n, now(), now() FROM many;
INSERT INTO end_user_tokens (token_hash, world_id, end_user_id, created_at)
    SELECT sha256(n::text::bytea), world, 'eu_' || n, now() FROM many;
INSERT INTO devices (world_id, id, serial_number, model, created_at, updated_at)
    SELECT world, 'dev_' || n, 's' || n, 'm', now(), now() FROM many;
INSERT INTO device_tokens (token_hash, world_id, device_id, binding_generation, state, created_at)
    SELECT sha256(n::text::bytea), world, 'dev_' || n, 1, 'current', now() FROM many;
INSERT INTO recordings (world_id, id, end_user_id, status, source, consent_obtained, created_at, updated_at)
    SELECT world, 'rec_' || n, 'eu_' || n, 'pending', 'device', true, now(), now() FROM many;
INSERT INTO upload_tokens (token_hash, world_id, recording_id, expires_at)
    SELECT sha256(n::text::bytea), world, 'rec_' || n, now() FROM many;
"""
INDEXES = {
    FIND_KEY: {"api_keys_secret_hash_key", "worlds_pkey"},
    FIND_DEVICE: {"device_tokens_pkey", "devices_pkey", "worlds_pkey"},
    FIND_END_USER: {"end_user_tokens_pkey", "end_users_pkey", "worlds_pkey", "api_keys_pkey"},
    FIND_UPLOAD: {
        *("upload_tokens_pkey", "recordings_pkey", "end_users_deleted", "worlds_pkey", "api_keys_pkey"),
    },
}


async def test_the_look_up_of_each_kind_has_its_indexes(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        for sql, expected in INDEXES.items():
            assert set(await indexes_of(connection, sql)) == expected, sql
