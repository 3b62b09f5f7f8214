"""What is asked often, and what walks everything, stays a walk along an index however many rows there are."""

from __future__ import annotations

import json

import pytest

from lapel.slices.erasure import hold_queries, queries
from lapel.slices.recordings.deletion import deletion_queries
from lapel.slices.recordings.downloads import download_queries
from lapel.slices.recordings.reconcile import reconcile_queries
from lapel.slices.recordings.records import list_queries, record_queries
from lapel.slices.recordings.uploads import media_queries, media_states
from tests.support.plans import filled, indexes_of, nodes

# One world of 2,000 has 10,000 end users, and 20,000 recordings of 200 of them and of 50 devices, each with
# an audio and an attempt.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects SELECT 'proj_' || n, 'org_1', 'x', now() FROM generate_series(1, 2000) n;
INSERT INTO worlds (project_id, mode) SELECT id, 'live' FROM projects;
CREATE TEMPORARY TABLE first AS SELECT min(id) AS id FROM worlds;
INSERT INTO end_users (world_id, id, created_at, updated_at)
    SELECT w.id, 'eu_' || n, now(), now() FROM first w, generate_series(1, 10000) n;
INSERT INTO devices (world_id, id, serial_number, model, created_at, updated_at)
    SELECT w.id, 'dev_' || n, 's' || n, 'x', now(), now() FROM first w, generate_series(1, 50) n;
INSERT INTO recordings (world_id, id, end_user_id, device_id, status, source, recorded_at, consent_obtained,
        recording_uuid, created_at, updated_at)
    SELECT w.id, 'rec_' || n, 'eu_' || (1 + n % 200), CASE WHEN n % 2 = 0 THEN 'dev_' || (1 + n % 50) END,
        CASE WHEN n % 50 = 0 THEN 'pending' ELSE 'uploaded' END, 'device', now() - make_interval(mins => n),
        false, 'u' || n, now() - make_interval(secs => n), now()
    FROM first w, generate_series(1, 20000) n;
INSERT INTO media (world_id, id, recording_id, type, status, content_type, file_size_bytes, object_key,
        created_at, last_url_expires_at, reconcile_at)
    SELECT r.world_id, replace(r.id, 'rec', 'med'), r.id, 'audio', r.status, 'audio/opus', 1,
        CASE WHEN r.status = 'uploaded' THEN 'media/proj_1/' || r.id END, r.created_at, now(), now()
    FROM recordings r;
INSERT INTO upload_attempts (world_id, media_id, id, staging_key, content_type, state,
        url_expires_at, created_at)
    SELECT m.world_id, m.id, replace(m.id, 'med', 'att'), 'staging/' || m.id, 'audio/opus', 'issued',
        m.created_at, m.created_at
    FROM media m;
INSERT INTO upload_tokens (token_hash, world_id, recording_id, expires_at)
    SELECT sha256(r.id::bytea), r.world_id, r.id, r.created_at FROM recordings r;
INSERT INTO erasures (world_id, id, resource_type, resource_id, end_user_id, prefixes, links_expire_at, state,
        created_at, due_at)
    SELECT w.id, 'era_' || n, 'recording', 'gone_' || n,
        CASE WHEN n % 2 = 0 THEN 'eu_' || (n % 100) END, '{}',
        now(), CASE WHEN n % 100 = 0 THEN 'open' ELSE 'closed' END, now() - make_interval(secs => n), now()
    FROM first w, generate_series(1, 20000) n;
INSERT INTO erasures (world_id, id, resource_type, resource_id, prefixes, links_expire_at, state,
        created_at, entered)
    SELECT w.id, 'ere_' || n, 'end_user', 'eu_' || n, '{}', now(),
        CASE n % 100 WHEN 0 THEN 'open' WHEN 1 THEN 'erased' ELSE 'closed' END, now(), true
    FROM first w, generate_series(1, 5000) n;
UPDATE recordings SET deleted_at = now() WHERE id LIKE '%77';
INSERT INTO holds (world_id, id, resource_type, resource_id, reason, placed_by_kind, created_at, released_at,
        settled_at)
    SELECT w.id, 'hld_' || n, 'recording', 'rec_' || n, 'x', 'key', now() - make_interval(secs => n),
        CASE WHEN n % 10 > 0 THEN now() END, CASE WHEN n % 100 > 1 THEN now() END
    FROM first w, generate_series(1, 20000) n;
"""

LISTS = {
    (): ["recordings_newest"],
    ("end_user_id",): ["recordings_of_end_user"],
    ("device_id",): ["recordings_of_device"],
    ("status",): ["recordings_by_status"],
}


SINGLE = {
    record_queries.READ: ["recordings_pkey", "media_pkey", "media_pkey", "end_users_deleted"],
    record_queries.READ_ONE: ["recordings_pkey", "media_pkey", "media_pkey", "end_users_deleted"],
    record_queries.LOCK: ["recordings_pkey", "worlds_pkey", "end_users_deleted"],
    record_queries.FIND_BY_UUID: ["recordings_device_uuid", "media_pkey", "media_pkey"],
    download_queries.FIND_DOWNLOADS: ["media_world_id_id_key", "recordings_pkey", "end_users_deleted"],
    download_queries.FIND_DOWNLOAD: ["media_world_id_id_key", "recordings_pkey", "end_users_deleted"],
    download_queries.FIND_AUDIO_DOWNLOADS: ["recordings_pkey", "media_one_audio", "end_users_deleted"],
    download_queries.FIND_AUDIO_DOWNLOAD: ["recordings_pkey", "media_one_audio", "end_users_deleted"],
    media_queries.FIND_AUDIO: ["media_one_audio"],
    media_queries.READ_STATE: [
        *("recordings_pkey", "worlds_pkey", "end_users_deleted"),
        *("media_pkey", "media_pkey", "upload_attempts_pkey"),
    ],
    media_queries.COUNT_ATTEMPTS: ["upload_attempts_pkey"],
    media_queries.FORGET_ATTEMPTS: ["upload_attempts_pkey", "upload_attempts_pkey"],
    media_states.ACCEPT: ["upload_attempts_pkey", "media_world_id_id_key"],
    record_queries.SET_UPLOADED: ["recordings_pkey", "media_pkey", "media_pkey"],
    deletion_queries.LOCK_OF_END_USER: ["recordings_of_end_user"],
    deletion_queries.LOCK_HIDDEN: ["recordings_hidden"],
    deletion_queries.FIND_END_USER: ["recordings_pkey"],
    hold_queries.READ_ACTIVE: ["holds_active"],
    hold_queries.READ_NEWEST: ["holds_of_resource"],
    hold_queries.RELEASE: ["holds_active"],
    hold_queries.FIND_UNSETTLED: ["holds_unsettled"],
    hold_queries.LIST: ["holds_newest"],
    hold_queries.LIST_ACTIVE: ["holds_newest"],
    hold_queries.LIST_RELEASED: ["holds_newest"],
    hold_queries.LIST_OF_RESOURCE: ["holds_of_resource"],
    reconcile_queries.FIND_UNFINISHED: ["media_unfinished"],
    reconcile_queries.ROWS_BETWEEN: ["media_object"],
    reconcile_queries.ROW_OF_OBJECT: ["media_object"],
    reconcile_queries.LOCK_BY_PROJECT: ["worlds_project_id_mode_key", "recordings_pkey"],
    queries.LIST: ["erasures_newest"],
    queries.LIST_OF_STATE: ["erasures_by_state"],
    queries.LIST_OF_TYPE: ["erasures_by_type"],
    queries.FOLLOW_ERASED: [
        "erasures_of_end_user",
        "erasures_unfinished_end_users",
        "erasures_unfinished_of_end_user",
    ],
    queries.FOLLOW_CLOSED: [
        "erasures_of_end_user",
        "erasures_unfinished_end_users",
        "erasures_unfinished_of_end_user",
    ],
    queries.FIND_OPEN_OF_END_USER: ["erasures_unfinished_of_end_user"],
    queries.LIST_OF_RESOURCE: ["erasures_world_id_resource_type_resource_id_key"],
    queries.FIND_END_USER: ["erasures_world_id_resource_type_resource_id_key"],
    queries.FIND_DUE: ["erasures_unfinished"],
    queries.FIND_ENTERING: ["erasures_entering"],
}


async def test_lists_and_hot_statements_have_their_index(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        for filters, indexes in LISTS.items():
            for sql in (list_queries.LISTS[filters], *([] if filters else [list_queries.FROM_START])):
                # what is sorted are the recordings of a page, with their media
                plan = await indexes_of(connection, sql, may_sort=True)
                wanted = [*indexes, "media_pkey", "media_pkey", *["end_users_deleted"] * len(indexes)]
                assert sorted(plan) == sorted(wanted), filters
        for sql, expected in SINGLE.items():
            assert sorted(await indexes_of(connection, sql, may_sort=True)) == sorted(expected), sql
        for sql in (
            reconcile_queries.READ_STAGED,
            reconcile_queries.PRUNE_ATTEMPTS,
            reconcile_queries.PRUNE_TOKENS,
            deletion_queries.READ_LOCKED,
            queries.SET_HELD,
            queries.RESUME,
            queries.RESUME_END_USER,
            hold_queries.FORGET_REASONS,
        ):
            await indexes_of(connection, sql, may_sort=True)


# The 20,000 recordings of two weeks, created so long after their time; one in ten 20 minutes later than that.
APART = """
UPDATE recordings SET created_at = recorded_at + '{}'::interval
    + CASE WHEN id LIKE '%1' THEN interval '20 minutes' ELSE interval '0' END;
ANALYZE recordings
"""
RANGES = {
    ("recorded_before",): "now() - interval '7 days'",
    ("recorded_after",): "now() - interval '7 days'",
    ("recorded_after", "recorded_before"): "now() - interval '8 days', now() - interval '7 days'",
}
DAY = 24 * 60
ASKED = "EXPLAIN (ANALYZE, TIMING off, FORMAT JSON) EXECUTE listed (1, 'infinity', '~', 21, 0, {})"


@pytest.mark.parametrize(
    ("apart", "most"),
    [
        ("1 minute", 100),
        *(
            pytest.param(*each, marks=pytest.mark.deep)
            for each in [
                *(("59 minutes", DAY), ("5 hours", DAY), ("30 days", 7 * DAY)),
                *(("-40 minutes", DAY), ("-5 hours", DAY), ("-30 days", 7 * DAY)),
            ]
        ),
    ],
)
async def test_a_list_by_time_reads_little_besides_its_page(
    fresh_database: str, apart: str, most: int
) -> None:
    async with filled(fresh_database, FILL) as connection:
        await connection.execute(APART.format(apart))
        for names, limits in RANGES.items():
            await connection.execute(f"PREPARE listed AS {list_queries.LISTS[names]}")
            plan = json.loads(await connection.fetchval(ASKED.format(limits)))
            await connection.execute("DEALLOCATE listed")
            read = sum(
                node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
                for node in nodes(plan[0]["Plan"])
                if node.get("Relation Name") == "recordings"
            )
            assert 21 <= read <= most + 100, names
