"""Whose turn it is, and the lists, are walks along indexes however many rows there are."""

from __future__ import annotations

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.slices.summaries import queries
from lapel.slices.summaries.templates import template_queries
from lapel.slices.summaries.work import summary_work_queries
from tests.support.plans import copy_of, filled_once, indexes_of

# Eight worlds of 500 have 600 recordings each, each with a transcription and three summaries, of which two
# are replaced; about a thousand summaries wait.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects SELECT 'proj_' || n, 'org_1', 'x', now() FROM generate_series(1, 500) n;
INSERT INTO worlds (project_id, mode) SELECT id, 'live' FROM projects;
CREATE TEMPORARY TABLE first AS SELECT id FROM worlds ORDER BY id LIMIT 8;
INSERT INTO end_users (world_id, id, created_at, updated_at)
    SELECT w.id, 'eu_' || n, now(), now() FROM first w, generate_series(1, 500) n;
INSERT INTO recordings (world_id, id, end_user_id, status, source, consent_obtained, created_at, updated_at)
    SELECT w.id, 'rec_' || n, 'eu_' || (1 + n % 10), 'uploaded', 'device', false,
        now() - make_interval(secs => n), now()
    FROM first w, generate_series(1, 600) n;
INSERT INTO transcriptions (world_id, id, recording_id, media_id, origin, status, provider, diarization,
        full_text, segments, created_at, updated_at)
    SELECT r.world_id, replace(r.id, 'rec', 'txn'), r.id, replace(r.id, 'rec', 'med'), 'request',
        'completed', 'whisper', true, 'x', '[]'::bytea, r.created_at, now()
    FROM recordings r;
INSERT INTO summaries (world_id, id, recording_id, transcription_id, origin, status, template_id,
        template_version, provider, output, replaced, created_at, updated_at)
    SELECT t.world_id, replace(t.id, 'txn', 'sum') || '_' || n, t.recording_id, t.id, 'request', 'completed',
        'tmpl_general_notes', 1, 'gemini', '{}'::bytea, n < 3, t.created_at + make_interval(secs => n), now()
    FROM transcriptions t, generate_series(1, 3) n;
INSERT INTO summary_work (world_id, id, recording_id, available_at, lease, created_at)
    SELECT s.world_id, s.id, s.recording_id,
        CASE WHEN s.id LIKE '%99_3' THEN now() + interval '1 minute' ELSE now() END,
        CASE WHEN s.id LIKE '%99_3' THEN 'a' END, s.created_at
    FROM summaries s WHERE s.id LIKE '%7_3' OR s.id LIKE '%9_3';
INSERT INTO summary_parts (world_id, summary_id, part, result)
    SELECT world_id, id, '0', '' FROM summary_work;
INSERT INTO summary_turns (world_id, served_at) SELECT id, now() FROM worlds;
INSERT INTO summary_templates (world_id, id, name, version, created_at, updated_at)
    SELECT w.id, 'tmpl_' || n, 'x', 3, now() - make_interval(secs => n), now()
    FROM first w, generate_series(1, 200) n;
INSERT INTO summary_template_versions
        (world_id, template_id, version, instructions, output_schema, created_at)
    SELECT t.world_id, t.id, n, 'x', '{}', now() FROM summary_templates t, generate_series(1, 3) n;
"""
RECORDING, WORK = {"summaries_of_recording"}, {"summary_work_pkey"}
USED = [
    (queries.READ, {"summaries_pkey", "recordings_pkey"}),
    (queries.SIZE, {"summaries_pkey"}),
    (queries.BEGIN, {"summaries_pkey", "recordings_pkey"}),
    (queries.FAIL, {"summaries_pkey", "recordings_pkey"}),
    (queries.COMPLETE, {"summaries_pkey", "summaries_of_transcription", "recordings_pkey"}),
    (queries.LOCK_OF_RECORDINGS, RECORDING),
    (queries.LISTS[False, False], {"summaries_newest", "recordings_pkey"}),
    (queries.LISTS[True, False], {"summaries_of_transcription", "recordings_pkey"}),
    (queries.LISTS[False, True], {"summaries_of_recording", "recordings_pkey"}),
    (template_queries.READ, {"summary_templates_pkey", "summary_template_versions_pkey"}),
    (template_queries.LIST, {"summary_templates_newest", "summary_template_versions_pkey"}),
    (template_queries.READ_VERSION, {"summary_template_versions_pkey"}),
    (template_queries.DELETE, {"summary_templates_pkey"}),
    (summary_work_queries.RENEW, WORK),
    (summary_work_queries.LOCK, WORK),
    (summary_work_queries.PUT_BACK, WORK),
    (summary_work_queries.DELETE, WORK),
    (summary_work_queries.DELETE_PARTS, {"summary_parts_pkey"}),
    (summary_work_queries.READ_PART, {"summary_parts_pkey"}),
]


archive = filled_once(FILL)


async def test_every_statement_reads_along_an_index(postgres: EmbeddedPostgres, archive: str) -> None:
    async with copy_of(postgres, archive) as connection:
        for sql, expected in USED:
            is_list = sql in (template_queries.LIST, *queries.LISTS.values())
            used = await indexes_of(connection, sql, may_sort=not is_list)
            assert expected <= set(used), sql
        # A world has few summaries under way, so the planner may also take another index of the world.
        assert await indexes_of(connection, summary_work_queries.LOCK_OF_RECORDINGS, may_sort=True)
        # The turn: worlds are found by jumps, and their work by the line; nothing is read whole.
        turn = await indexes_of(connection, summary_work_queries.CLAIM, may_sort=True)
        line = {"summary_work_line", "summary_work_leased", "summary_turns_pkey", "summary_work_pkey"}
        assert set(turn) <= line
        assert {"summary_work_line", "summary_work_leased"} <= set(turn)
