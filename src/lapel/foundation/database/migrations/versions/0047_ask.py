"""Sessions and messages of Ask, and the answers that are being made."""

from lapel.foundation.database.migrations import script

revision = "0047"
down_revision = "0046"

SESSIONS = """
-- `recording_id`: of a session about one recording, which is deleted with the recording.
CREATE TABLE ask_sessions (
    world_id bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    end_user_id text COLLATE "C" NOT NULL,
    scope_type text NOT NULL CHECK (scope_type IN ('recording', 'selected', 'library')),
    recording_id text COLLATE "C",
    recording_ids text[] COLLATE "C" NOT NULL,
    title text NOT NULL,
    -- The title in a form in which upper and lower case are the same.
    title_folded text NOT NULL,
    -- The title is the beginning of the first question, and goes with it.
    title_from_message boolean NOT NULL,
    message_count integer NOT NULL,
    last_message_at timestamptz NOT NULL,
    last_model text,
    last_provider text CHECK (last_provider IN ('gemini', 'openai', 'claude')),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id),
    CHECK ((scope_type = 'recording') = (recording_id IS NOT NULL)),
    FOREIGN KEY (world_id, end_user_id) REFERENCES end_users (world_id, id),
    FOREIGN KEY (world_id, recording_id) REFERENCES recordings (world_id, id) ON DELETE CASCADE
);
CREATE INDEX ask_sessions_latest ON ask_sessions (world_id, last_message_at DESC, id DESC);
CREATE INDEX ask_sessions_of_end_user
    ON ask_sessions (world_id, end_user_id, last_message_at DESC, id DESC);
CREATE INDEX ask_sessions_of_recording ON ask_sessions (world_id, recording_id) WHERE recording_id IS NOT NULL;

-- The recordings of `recording` and `selected` sessions, for the filter of the list.
CREATE TABLE ask_session_recordings (
    world_id bigint NOT NULL,
    recording_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (world_id, recording_id, session_id),
    FOREIGN KEY (world_id, session_id) REFERENCES ask_sessions (world_id, id) ON DELETE CASCADE
);
CREATE INDEX ask_session_recordings_of_session ON ask_session_recordings (world_id, session_id);
"""
MESSAGES = """
-- A question has an odd `place` in its session, and its answer has the next one.
CREATE TABLE ask_messages (
    world_id bigint NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    place bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    role text NOT NULL CHECK (role IN ('user', 'assistant')),
    content text NOT NULL,
    -- JSON, as the API shows it. `sources`: what the answer to the POST shows; NULL for a question.
    parts bytea NOT NULL,
    sources bytea,
    tokens_input bigint,
    tokens_output bigint,
    tokens_cached bigint,
    model text,
    provider text CHECK (provider IN ('gemini', 'openai', 'claude')),
    finish_reason text CHECK (finish_reason IN ('stop', 'length', 'content_filter')),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, session_id, place),
    UNIQUE (world_id, id),
    CHECK ((role = 'assistant') = (sources IS NOT NULL)),
    FOREIGN KEY (world_id, session_id) REFERENCES ask_sessions (world_id, id) ON DELETE CASCADE
);

-- The recordings that an answer was made from, directly or by the answers before it that it continues. If one
-- of them is deleted, question and answer go. `place`: of the answer.
CREATE TABLE ask_answer_recordings (
    world_id bigint NOT NULL,
    recording_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    place bigint NOT NULL,
    PRIMARY KEY (world_id, recording_id, session_id, place),
    FOREIGN KEY (world_id, session_id, place) REFERENCES ask_messages (world_id, session_id, place)
        ON DELETE CASCADE
);
CREATE INDEX ask_answer_recordings_of_answer ON ask_answer_recordings (world_id, session_id, place);
"""
ANSWERS = """
-- The answers that are being made, or wait for the one before them in their session. The row is deleted in the
-- transaction that stores the messages. `id` is the id that the answer will have. The process that makes the
-- answer renews `seen_at`; a row that is not renewed has lost its process. `session_id` has no foreign key: a
-- session with a first message is stored with its first answer.
CREATE TABLE ask_answers (
    world_id bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    end_user_id text COLLATE "C" NOT NULL,
    place bigint GENERATED ALWAYS AS IDENTITY,
    state text NOT NULL CHECK (state IN ('waiting', 'running', 'failed')),
    -- Identifies the request's Idempotency-Key.
    claim bytea,
    -- The answer so far, as JSON.
    parts bytea NOT NULL DEFAULT '[]',
    stop_wanted boolean NOT NULL DEFAULT false,
    error_code text,
    error_message text,
    created_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id)
);
CREATE INDEX ask_answers_of_session ON ask_answers (world_id, session_id, place);
CREATE INDEX ask_answers_of_end_user ON ask_answers (world_id, end_user_id);
CREATE UNIQUE INDEX ask_answers_one_claim ON ask_answers (world_id, claim) WHERE claim IS NOT NULL;
CREATE INDEX ask_answers_seen ON ask_answers (seen_at);
"""


def upgrade() -> None:
    for each in (SESSIONS, MESSAGES, ANSWERS):
        script(each)
