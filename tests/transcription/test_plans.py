"""Whose turn it is, and the lists, are walks along indexes however many rows there are."""

from __future__ import annotations

import json

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.slices.transcription import fact_queries, queries
from lapel.slices.transcription.exports import export_queries
from lapel.slices.transcription.reading import transcription_list_queries
from lapel.slices.transcription.work import work_queries
from tests.support.plans import copy_of, filled_once, indexes_of, nodes

# One world of 500 has 20,000 recordings, each transcribed; 5,000 steps wait, of twenty worlds.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects SELECT 'proj_' || n, 'org_1', 'x', now() FROM generate_series(1, 500) n;
INSERT INTO worlds (project_id, mode) SELECT id, 'live' FROM projects;
CREATE TEMPORARY TABLE first AS SELECT id FROM worlds ORDER BY id LIMIT 20;
INSERT INTO end_users (world_id, id, created_at, updated_at)
    SELECT w.id, 'eu_' || n, now(), now() FROM first w, generate_series(1, 500) n;
INSERT INTO recordings (world_id, id, end_user_id, status, source, consent_obtained, created_at, updated_at)
    SELECT w.id, 'rec_' || n, 'eu_' || (1 + n % 10), 'uploaded', 'device', false,
        now() - make_interval(secs => n), now()
    FROM first w, generate_series(1, 1000) n;
INSERT INTO media (world_id, id, recording_id, type, status, content_type, file_size_bytes, object_key,
        created_at, last_url_expires_at, reconcile_at)
    SELECT r.world_id, replace(r.id, 'rec', 'med'), r.id, 'audio', 'uploaded', 'audio/opus', 1,
        'media/' || r.world_id || '/' || r.id, r.created_at, now(), now()
    FROM recordings r;
INSERT INTO transcriptions (world_id, id, recording_id, media_id, origin, status, provider, diarization,
        full_text, segments, created_at, updated_at)
    SELECT r.world_id, replace(r.id, 'rec', 'txn'), r.id, replace(r.id, 'rec', 'med'), 'request',
        CASE WHEN r.id LIKE '%7' THEN 'processing' ELSE 'completed' END, 'whisper', true,
        CASE WHEN r.id LIKE '%7' THEN NULL ELSE 'x' END,
        CASE WHEN r.id LIKE '%7' THEN NULL ELSE '[]'::bytea END,
        r.created_at, now()
    FROM recordings r;
INSERT INTO audio_facts (world_id, media_id, recording_id, duration_ms, probed_at)
    SELECT world_id, id, recording_id, 1000, now() FROM media;
INSERT INTO transcription_pieces (world_id, transcription_id, stage, piece, result)
    SELECT t.world_id, t.id, 'transcribe', n, '' FROM transcriptions t, generate_series(0, 2) n;
INSERT INTO speech_work (world_id, id, recording_id, media_id, transcription_id, lane, stage, available_at,
        lease, created_at)
    SELECT t.world_id, t.id, t.recording_id, t.media_id, t.id,
        CASE WHEN t.id LIKE '%3' THEN 'io' ELSE 'inference' END, 'transcribe',
        CASE WHEN t.id LIKE '%99' THEN now() + interval '1 minute' ELSE now() END,
        CASE WHEN t.id LIKE '%99' THEN 'a' END, t.created_at
    FROM transcriptions t WHERE t.id LIKE '%3' OR t.id LIKE '%9';
INSERT INTO speech_turns (lane, world_id, served_at) SELECT 'inference', id, now() FROM worlds;
"""

BACKLOG = """
INSERT INTO speech_work (world_id, id, recording_id, media_id, lane, stage, available_at, created_at)
    SELECT m.world_id, m.id || '_' || n, m.recording_id, m.id, 'decode', 'probe', now(), 'infinity'
    FROM media m, generate_series(1, 4) n;
"""

SINGLE = {
    queries.FIND_RUNNING: ["transcriptions_of_recording"],
    queries.FIND_CURRENT: ["transcriptions_of_recording"],
    queries.READ: ["transcriptions_pkey", "worlds_pkey", "recordings_pkey", "end_users_deleted"],
    queries.READ_FACTS: ["transcriptions_pkey", "worlds_pkey", "recordings_pkey", "end_users_deleted"],
    export_queries.LIST_IDS: ["transcriptions_of_recording", "recordings_pkey", "end_users_deleted"],
    queries.BEGIN: ["transcriptions_pkey", "worlds_pkey", "recordings_pkey"],
    queries.SET_PROGRESS: ["transcriptions_pkey"],
    queries.COMPLETE: ["transcriptions_pkey", "worlds_pkey", "recordings_pkey"],
    queries.FAIL: ["transcriptions_pkey", "worlds_pkey", "recordings_pkey"],
    queries.READ_PIECES: ["transcription_pieces_pkey"],
    queries.READ_PIECE: ["transcription_pieces_pkey"],
    queries.COUNT_PIECES: ["transcription_pieces_pkey"],
    fact_queries.READ: ["audio_facts_pkey"],
    queries.LOCK_OF_RECORDINGS: ["transcriptions_of_recording"],
    work_queries.LOCK_OF_RECORDINGS: ["speech_work_of_recording"],
    work_queries.WAITING: ["speech_work_of_recording"],
    work_queries.RENEW: ["speech_work_pkey"],
    work_queries.LOCK: ["speech_work_pkey"],
    work_queries.MOVE: ["speech_work_pkey"],
    work_queries.PUT_BACK: ["speech_work_pkey"],
    work_queries.DROP_PROBE: ["speech_work_pkey"],
}


archive = filled_once(FILL)


async def test_every_statement_reads_along_an_index(postgres: EmbeddedPostgres, archive: str) -> None:
    async with copy_of(postgres, archive) as connection:
        for sql, expected in SINGLE.items():
            assert sorted(await indexes_of(connection, sql, may_sort=True)) == sorted(expected), sql
        for filters, sql in transcription_list_queries.LISTS.items():
            used = await indexes_of(connection, sql)
            name = {(False, False): "newest", (True, False): "of_recording", (False, True): "by_status"}
            wanted = name.get(filters[1:3], "of_recording")
            assert f"transcriptions_{wanted}" in used, (filters, used)
        # The turn: worlds are found by jumps, and their work by the line; nothing is read whole.
        turn = await indexes_of(connection, work_queries.CLAIM, may_sort=True)
        assert {"speech_work_line", "speech_work_leased"} <= set(turn), turn
        assert set(turn) <= {
            "speech_work_line",
            "speech_work_leased",
            "speech_turns_pkey",
            "speech_work_pkey",
        }


async def test_a_turn_is_quick_however_many_wait(postgres: EmbeddedPostgres, archive: str) -> None:
    async with copy_of(postgres, archive) as connection:
        rows = await connection.fetch(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {work_queries.CLAIM}".replace("$1", "'inference'")
            .replace("$2", "'x'")
            .replace("$3", "interval '1 minute'")
            .replace("$4", "'{}'")
            .replace("$5", "'x'")
        )
        plan = json.loads(rows[0][0])[0]["Plan"]
    touched = plan["Shared Hit Blocks"] + plan.get("Shared Read Blocks", 0)
    # Some twenty pages a world that has work: far fewer than the table's rows.
    assert touched < 20 * 40, touched


async def test_the_sweep_looks_at_no_more_than_it_can_wake(postgres: EmbeddedPostgres, archive: str) -> None:
    async with copy_of(postgres, archive) as connection:
        await connection.execute(BACKLOG)
        await connection.execute("VACUUM ANALYZE")
        sql = work_queries.LACKING.replace("$1::text[]", "'{decode,io,inference}'::text[]")
        rows = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        found = await connection.fetch(work_queries.LACKING, ["decode", "io", "inference"])
    plan = json.loads(rows[0][0])[0]["Plan"]
    assert {row["lane"]: row["lacking"] for row in found} == {"decode": 1000, "io": 1000, "inference": 1000}
    reads = [node for node in nodes(plan) if node.get("Relation Name") == "speech_work"]
    assert reads
    assert all(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) < 2500 for node in reads), reads
