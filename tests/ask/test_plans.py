"""Lists and look-ups are walks along indexes, however many sessions and messages there are."""

from __future__ import annotations

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.slices.ask import message_queries, queries
from lapel.slices.ask.answering import answer_queries
from lapel.slices.recordings.records import time_queries
from tests.support.plans import copy_of, filled_once, indexes_of, steps_of

FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects SELECT 'proj_' || n, 'org_1', 'x', now() FROM generate_series(1, 500) n;
INSERT INTO worlds (project_id, mode) SELECT id, 'live' FROM projects;
CREATE TEMPORARY TABLE first AS SELECT id FROM worlds ORDER BY id LIMIT 20;
INSERT INTO end_users (world_id, id, created_at, updated_at)
    SELECT w.id, 'eu_' || n, now(), now() FROM first w, generate_series(1, 200) n;
INSERT INTO recordings (world_id, id, end_user_id, status, source, consent_obtained, created_at, updated_at)
    SELECT w.id, 'rec_' || n, 'eu_' || (1 + n % 200), 'uploaded', 'device', false, now(), now()
    FROM first w, generate_series(1, 500) n;
INSERT INTO ask_sessions (world_id, id, end_user_id, scope_type, recording_id, recording_ids, title,
        title_folded, title_from_message, message_count, last_message_at, created_at, updated_at)
    SELECT r.world_id, replace(r.id, 'rec', 'as') || '_' || n, r.end_user_id, 'recording', r.id, ARRAY[r.id],
        'x', 'x', true, 2, now() - make_interval(secs => n), now(), now()
    FROM recordings r, generate_series(1, 2) n;
INSERT INTO ask_session_recordings SELECT world_id, recording_id, id FROM ask_sessions;
INSERT INTO ask_messages (world_id, session_id, place, id, role, content, parts, sources, created_at)
    SELECT s.world_id, s.id, n, 'msg_' || s.id || n, CASE n % 2 WHEN 1 THEN 'user' ELSE 'assistant' END, 'x',
        '[]', CASE n % 2 WHEN 1 THEN NULL ELSE '[]'::bytea END, now()
    FROM ask_sessions s, generate_series(1, 2) n;
INSERT INTO ask_answer_recordings
    SELECT s.world_id, s.recording_id, s.id, 2 FROM ask_sessions s;
INSERT INTO ask_answers (world_id, id, session_id, end_user_id, state, claim, created_at, seen_at)
    SELECT s.world_id, 'msg_9' || s.id, s.id, s.end_user_id, 'running', s.id::bytea, now(),
        now() - interval '1 second'
    FROM ask_sessions s;
"""
SEEN = ["end_users_deleted", "recordings_pkey"]
WHOLE = {
    queries.READ: ["ask_sessions_pkey", "recordings_pkey", "worlds_pkey", *SEEN],
    queries.LOCK: ["ask_sessions_pkey", *SEEN],
    queries.LATEST: ["ask_sessions_pkey", "ask_messages_pkey"],
    queries.IS_UNTITLED: ["ask_sessions_pkey", "ask_messages_pkey"],
    queries.ADD_EXCHANGE: ["ask_sessions_pkey"],
    queries.SET_TITLE: ["ask_sessions_pkey"],
    queries.DELETE: ["ask_sessions_pkey"],
    message_queries.LIST: ["ask_messages_pkey"],
    message_queries.TURNS: ["ask_messages_pkey"],
    message_queries.COUNT_PLACES: ["ask_messages_pkey"],
    message_queries.READ: ["ask_messages_world_id_id_key"],
    answer_queries.HAS_TURN: ["ask_answers_pkey", "ask_answers_of_session"],
    answer_queries.IS_CLAIMED: ["ask_answers_one_claim"],
    answer_queries.UNCLAIM: ["ask_answers_one_claim"],
    answer_queries.COUNT_LIVE: ["ask_answers_of_session"],
    answer_queries.BEGIN: ["ask_answers_pkey"],
    answer_queries.RENEW: ["ask_answers_pkey"],
    answer_queries.STOP: ["ask_answers_of_session"],
    answer_queries.READ: ["ask_answers_of_session"],
    answer_queries.FIND_NEWEST: ["ask_answers_of_session", "ask_messages_pkey"],
    answer_queries.FINISH: ["ask_answers_pkey"],
    answer_queries.FAIL: ["ask_answers_pkey"],
    answer_queries.DELETE_OF_SESSION: ["ask_answers_of_session"],
    answer_queries.SWEEP: ["ask_answers_seen"],
}
SOME = {
    message_queries.RECORDINGS_OF_ANSWERS: "ask_answer_recordings_of_answer",
    message_queries.LOCK_OF_RECORDINGS: "ask_answer_recordings_pkey",
    message_queries.DELETE_OF_RECORDINGS: "ask_answer_recordings_pkey",
    queries.DELETE_OF_END_USER: "ask_sessions_of_end_user",
    answer_queries.DELETE_OF_END_USER: "ask_answers_of_end_user",
}

library = filled_once(FILL)


# Of recordings. They are those of one end user, so they are counted along the index of these.
OF_A_TIME = (time_queries.COUNT_RECORDED, time_queries.NEWEST_RECORDED, time_queries.OLDEST_RECORDED)


async def test_every_statement_reads_along_an_index(postgres: EmbeddedPostgres, library: str) -> None:
    async with copy_of(postgres, library) as connection:
        for sql, expected in WHOLE.items():
            assert set(await indexes_of(connection, sql, may_sort=True)) == set(expected), sql
        for sql, index in SOME.items():
            steps = await steps_of(connection, sql)
            scanned = {step.get("Relation Name") for step in steps if step["Node Type"] == "Seq Scan"}
            assert not scanned, sql
            assert index in {step.get("Index Name") for step in steps}, sql
        for sql in OF_A_TIME:
            assert "recordings_of_end_user" in await indexes_of(connection, sql, may_sort=True), sql
        for (by_end_user, by_recording, _, _), sql in queries.LISTS.items():
            found = await indexes_of(connection, sql, may_sort=by_recording)
            if by_recording:
                assert "ask_session_recordings_pkey" in found, sql
            else:
                wanted = "ask_sessions_of_end_user" if by_end_user else "ask_sessions_latest"
                assert wanted in found, sql
