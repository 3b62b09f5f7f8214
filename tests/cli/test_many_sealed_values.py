"""However many values are sealed, `lapel secrets reseal` and `lapel doctor` come to the last one."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator

import asyncpg
import pytest

from lapel.cli.doctor.secret_checks import SEALED
from lapel.foundation.database.pool import Database
from lapel.foundation.identity import seal
from lapel.foundation.identity.sealed_values import reseal

MAKE = """
INSERT INTO organizations VALUES ('org_1', 'a', now());
INSERT INTO projects SELECT 'proj_' || n, 'org_1', 'a', now() FROM generate_series(1, 4) n;
INSERT INTO worlds (project_id, mode) SELECT id, mode FROM projects, unnest('{test,live}'::text[]) mode;
INSERT INTO webhooks (world_id, id, url, events, status, sealed_secret, created_at, updated_at)
    SELECT w.id, 'wh_' || n, 'https://a.example', '{*}', 'enabled', '', now(), now()
    FROM worlds w, generate_series(1, 3) n;
INSERT INTO provider_slots (world_id, slot, engine, sealed_key, created_at, updated_at)
    SELECT w.id, slot, 'openai', '', now(), now()
    FROM worlds w, unnest('{openai,anthropic,google}'::text[]) slot;
INSERT INTO document_signing_keys
    SELECT id, n, decode(repeat('00', 64), 'hex'), '', now(), CASE n WHEN 1 THEN now() END
    FROM projects, generate_series(1, 2) n;
ALTER TABLE encrypted_upload_sessions DROP CONSTRAINT encrypted_upload_sessions_world_id_recording_id_fkey;
INSERT INTO encrypted_upload_sessions
    (world_id, id, recording_id, device_id, end_user_id, owner_revision, state, channel, policy,
     policy_revision, binding_generation, recording_uuid, recording_generation, capabilities, auth_nonce,
     ciphertext_length, ciphertext_sha256, staging_key, upload_authorization, configuration,
     recipient_key_id, sealed_recipient_key, expires_at, created_at, updated_at)
    SELECT w.id, 'ses_' || n, 'rec_' || n, '', '', 1, 'staging', 'ble', 'legacy_allowed', 1, 1, '', 1,
        decode(repeat('00', 24), 'hex'), decode(repeat('00', 16), 'hex'), 1, '', '',
        decode(repeat('00', 408), 'hex'), '', '', '', now(), now(), now()
    FROM worlds w, generate_series(1, 3) n;
"""
PLACES = {
    "provider keys": ("provider_slots", "sealed_key", 24),
    "secrets of webhooks": ("webhooks", "sealed_secret", 24),
    "signing keys": ("document_signing_keys", "sealed_private_key", 8),
    "keys of encrypted uploads": ("encrypted_upload_sessions", "sealed_recipient_key", 24),
}


@pytest.fixture
async def database(fresh_database: str) -> AsyncGenerator[Database]:
    opened = Database(fresh_database)
    await opened.open()
    async with opened.acquire() as connection:
        await connection.execute(MAKE)
    yield opened
    await opened.close()


def test_every_kind_has_a_case() -> None:
    assert set(SEALED) == set(PLACES)


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("batch", [1, 5, 8, 1000])
async def test_a_walk_comes_to_every_value_once_in_batches(database: Database, kind: str, batch: int) -> None:
    _, _, count = PLACES[kind]
    async with database.acquire() as connection:
        batches = [each async for each in SEALED[kind](connection, batch)]
    assert Counter(each.context for values in batches for each in values).most_common(1)[0][1] == 1
    assert [len(values) for values in batches[:-1]] == [batch] * (len(batches) - 1)
    assert sum(map(len, batches)) == count


@pytest.mark.parametrize("kind", PLACES)
async def test_values_behind_the_first_batch_are_sealed_again(database: Database, kind: str) -> None:
    table, column, count = PLACES[kind]
    old, both = seal.sealer("first", None), seal.sealer("second", "first")
    async with database.acquire() as connection:
        async for values in SEALED[kind](connection, 1000):
            for each in values:
                await each.replace(connection, old.seal(b"plain", each.context))
        assert (await reseal(connection, both, SEALED[kind](connection, 5))) == (count, 0)
        assert (await reseal(connection, both, SEALED[kind](connection, 5))) == (0, 0)
        rows: list[asyncpg.Record] = await connection.fetch(f"SELECT {column} FROM {table}")
        assert len(rows) == count
        new = seal.sealer("second", None)
        async for values in SEALED[kind](connection, 7):
            assert all(each.is_readable(new) for each in values)
