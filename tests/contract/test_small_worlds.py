"""Lists have the right plan in a large world, also if nearly all worlds are small.

In a plan for any world, PostgreSQL then takes every index that begins with the world for equally good.
"""

from __future__ import annotations

from datetime import UTC, datetime

from lapel.slices.devices import queries
from lapel.slices.end_users.queries import LIST_BY_EXTERNAL_ID, LIST_FROM_START, LIST_OWN
from lapel.slices.events.queries import LIST, LIST_SIZE
from lapel.slices.recordings.records import list_queries
from lapel.slices.summaries.queries import LIST_SIZES as SUMMARY_SIZES
from lapel.slices.summaries.queries import LISTS as SUMMARY_LISTS
from lapel.slices.transcription.reading.transcription_list_queries import LIST_SIZES, LISTS
from tests.support.plans import filled, steps_of

# 2,000 worlds with two rows of each table.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects SELECT 'proj_' || n, 'org_1', 'x', now() FROM generate_series(1, 2000) n;
INSERT INTO worlds (project_id, mode) SELECT id, 'live' FROM projects;
CREATE TEMPORARY TABLE twice AS SELECT w.id, n FROM worlds w, generate_series(1, 2) n;
INSERT INTO end_users (world_id, id, external_id, created_at, updated_at)
    SELECT id, 'eu_' || n, 'u' || n, now() - make_interval(secs => n), now() FROM twice;
INSERT INTO devices (world_id, id, serial_number, model, end_user_id, created_at, updated_at)
    SELECT id, 'dev_' || n, 's' || n, 'm', CASE WHEN n = 1 THEN 'eu_1' END,
        now() - make_interval(secs => n), now()
    FROM twice;
INSERT INTO recordings (world_id, id, end_user_id, device_id, status, source, recorded_at, consent_obtained,
        created_at, updated_at)
    SELECT id, 'rec_' || n, 'eu_1', 'dev_' || n, 'uploaded', 'device', now(), false,
        now() - make_interval(secs => n), now()
    FROM twice;
INSERT INTO media (world_id, id, recording_id, type, status, content_type, file_size_bytes, object_key,
        created_at, last_url_expires_at, reconcile_at)
    SELECT id, 'med_' || n, 'rec_' || n, 'audio', 'uploaded', 'audio/opus', 1, 'media/' || id || '/' || n,
        now(), now(), now()
    FROM twice;
INSERT INTO transcriptions (world_id, id, recording_id, media_id, origin, status, provider, diarization,
        full_text, segments, created_at, updated_at)
    SELECT id, 'txn_' || n, 'rec_' || n, 'med_' || n, 'request', 'completed', 'whisper', true, 'x',
        '[]'::bytea, now() - make_interval(secs => n), now()
    FROM twice;
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at, position)
    SELECT id, 'evt_' || n, 'recording.created', 'rec_' || n, n, '{}', now() - make_interval(secs => n), n
    FROM twice;
"""
PLANNED_ONCE = {
    "devices_newest": [queries.LIST_FROM_START],
    "end_users_newest": [LIST_FROM_START],
    "events_newest": [LIST["from_start"], LIST_SIZE["from_start"]],
    "recordings_newest": [list_queries.FROM_START],
    "transcriptions_newest": [sql for key, sql in LISTS.items() if key.from_start],
}
SUMMARIES = (SUMMARY_LISTS, SUMMARY_SIZES)
PLANNED_ANEW = [
    *(queries.LISTS[name] for name in ("bound", "unbound", "of_end_user")),
    *(LIST_BY_EXTERNAL_ID, LIST_OWN),
    *(statements[kind] for statements in (LIST, LIST_SIZE) for kind in ("of_resource", "of_types")),
    *(sql for names, sql in list_queries.LISTS.items() if names),
    *(sql for lists in SUMMARIES for filters, sql in lists.items() if any(filters)),
    *(sql for names, sql in list_queries.NEWEST.items() if names != ("recorded_after", "recorded_before")),
    *(
        sql
        for lists in (LISTS, LIST_SIZES)
        for key, sql in lists.items()
        if key.by_recording or key.by_status
    ),
]


async def test_a_filter_that_has_an_index_is_planned_for_each_world(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        for sql in PLANNED_ANEW:
            for_any_world = (await steps_of(connection, sql))[0]
            assert for_any_world["Total Cost"] > 1_000_000, sql
        world = await connection.fetchval("SELECT min(id) FROM worlds")
        of_end_user = await connection.prepare(list_queries.LISTS[("end_user_id",)])
        for _ in range(6):  # PostgreSQL chooses at the sixth execution
            found = await of_end_user.fetch(world, datetime.now(UTC), "x", 21, 0, "eu_1")
            assert len(found) == 2
        planned = await connection.fetchval(
            "SELECT custom_plans FROM pg_prepared_statements WHERE name = $1", of_end_user.get_name()
        )
        assert planned == 6


async def test_a_list_that_is_planned_once_walks_along_its_own_index(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        for index, lists in PLANNED_ONCE.items():
            for sql in lists:
                used = {step.get("Index Name") for step in await steps_of(connection, sql)}
                assert index in used, (sql, used)


async def test_the_current_transcription_of_a_recording_is_found_by_its_id(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        for key, sql in LISTS.items():
            used = [step.get("Index Name") for step in await steps_of(connection, sql)]
            assert "transcriptions_pkey" in used, (key, used)
