"""What a run and the preview search stays a walk along an index, however many recordings there are."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from lapel.slices.recordings.deletion import audio_erasure_queries, deletion_queries
from lapel.slices.retention import preview_queries, queries
from tests.support.plans import filled, indexes_of, steps_of

# One world of 2,000 has 30,000 recordings of 200 of 10,000 end users, and of 50 devices. Half of these have a
# rule, and so has the world.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects SELECT 'proj_' || n, 'org_1', 'x', now() FROM generate_series(1, 2000) n;
INSERT INTO worlds (project_id, mode) SELECT id, 'live' FROM projects;
CREATE TEMPORARY TABLE first AS SELECT min(id) AS id FROM worlds;
INSERT INTO end_users (world_id, id, created_at, updated_at)
    SELECT w.id, 'eu_' || n, now(), now() FROM first w, generate_series(1, 10000) n;
INSERT INTO devices (world_id, id, serial_number, model, created_at, updated_at)
    SELECT w.id, 'dev_' || n, 's' || n, 'x', now(), now() FROM first w, generate_series(1, 50) n;
INSERT INTO recordings (world_id, id, end_user_id, device_id, status, source, consent_obtained,
        created_at, updated_at, uploaded_at, content_sha256, content_sha256_verified_at, file_size_bytes)
    SELECT w.id, 'rec_' || n, 'eu_' || (1 + n % 200), 'dev_' || (1 + n % 50), 'uploaded', 'device', false,
        now() - make_interval(mins => n), now(), now() - make_interval(mins => n), 'x',
        now() - make_interval(mins => n), 1000
    FROM first w, generate_series(1, 30000) n;
INSERT INTO media (world_id, id, recording_id, type, status, content_type, file_size_bytes, object_key,
        created_at, last_url_expires_at, reconcile_at)
    SELECT r.world_id, replace(r.id, 'rec', 'med'), r.id, 'audio', 'uploaded', 'audio/opus', 1000,
        'media/proj_1/' || r.id, r.created_at, now(), now()
    FROM recordings r;
INSERT INTO holds (world_id, id, resource_type, resource_id, placed_by_kind, created_at)
    SELECT w.id, 'hold_' || n, 'end_user', 'eu_' || (5000 + n), 'key', now()
    FROM first w, generate_series(1, 5000) n;
INSERT INTO config_overrides (world_id, level, subject_id, section, value, revision, updated_at)
    SELECT w.id, level, subject, 'retention', '{"recordings_days": 10, "audio_days": 5}', 1, now()
    FROM first w, (
        SELECT 'end_user' AS level, 'eu_' || n AS subject FROM generate_series(1, 100) n
        UNION ALL SELECT 'device', 'dev_' || n FROM generate_series(1, 25) n
        UNION ALL SELECT 'project', ''
    ) rules;
INSERT INTO config_overrides (world_id, level, subject_id, section, value, revision, updated_at)
    SELECT w.id, 'project', '', 'upload', '{}', 1, now() FROM worlds w;
"""

INDEX = {
    ("recording", "world"): "recordings_newest",
    ("recording", "end_user"): "recordings_of_end_user",
    ("recording", "device"): "recordings_of_device",
    ("audio", "world"): "recordings_audio_age",
    ("audio", "end_user"): "recordings_audio_age_of_end_user",
    ("audio", "device"): "recordings_audio_age_of_device",
}
# Tables with a row per organization, or per override of an organization.
SMALL = {"organization_config_overrides", "projects", "worlds", "config_overrides"}


async def reads(connection: asyncpg.Connection[Any], sql: str) -> list[dict[str, Any]]:
    """The steps of a plan that read recordings."""
    steps = await steps_of(connection, sql)
    scanned = {step["Relation Name"] for step in steps if step["Node Type"] == "Seq Scan"}
    assert scanned <= SMALL, sql
    return [step for step in steps if step.get("Relation Name") == "recordings"]


async def walks(connection: asyncpg.Connection[Any], sql: str) -> str:
    """The index along which a statement reads recordings. It ends after a fixed number of them, in order."""
    (step,) = await reads(connection, sql)
    steps = await steps_of(connection, sql)
    place = next(place for place, each in enumerate(steps) if each.get("Relation Name") == "recordings")
    assert steps[place - 1]["Node Type"] == "Limit", sql
    return step["Index Name"]


@pytest.mark.timeout(120)
async def test_a_run_and_a_preview_walk_along_indexes(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        # PostgreSQL may sort so few recordings, but not a million. The index must make it unnecessary.
        await connection.execute("SET enable_bitmapscan = off")
        for sql in queries.CLAIMS.values():
            (step,) = await reads(connection, sql)
            assert step["Index Name"] == "recordings_pkey"
        for (kind, scope), sql in queries.FINDS.items():
            assert await walks(connection, sql) == INDEX[kind, scope]
            assert await walks(connection, queries.ENDS[kind, scope]) == INDEX[kind, scope]
            steps = await steps_of(connection, sql)
            assert not any(step["Node Type"] == "Sort" for step in steps), sql
        for kind, sql in queries.PAGES_OF_RULES.items():
            found = {step.get("Index Name") for step in await reads(connection, sql)}
            assert found == {INDEX[kind, scope] for scope in ("world", "end_user", "device")}
        for statements in (preview_queries.PAGES, preview_queries.ENDS, preview_queries.SUMS):
            for (kind, scope, of_end_user), sql in statements.items():
                if not of_end_user:
                    assert await walks(connection, sql) == INDEX[kind, scope], sql
                else:
                    assert len(await reads(connection, sql)) == 1
        for sql in (
            deletion_queries.FIND_NOT_HELD,
            audio_erasure_queries.READ_AUDIO,
            audio_erasure_queries.DELETE_AUDIO,
            audio_erasure_queries.SET_AUDIO_ERASED,
        ):
            await indexes_of(connection, sql, may_sort=True)
