"""Transcriptions, the facts that a probe finds about an audio, and the steps of the work on both."""

from lapel.foundation.database.migrations import script

revision = "0007"
down_revision = "0006"

PROBES = """
-- One row for each audio that was probed. `cuts`: the milliseconds at which its pieces begin and end.
CREATE TABLE audio_facts (
    world_id bigint NOT NULL,
    media_id text COLLATE "C" NOT NULL,
    recording_id text COLLATE "C" NOT NULL,
    duration_ms bigint,
    channels integer,
    sample_rate integer,
    codec text,
    container text,
    mime_type text,
    peaks bytea,
    cuts bigint[],
    error_code text,
    error_message text,
    probed_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, media_id),
    CHECK ((error_code IS NULL) = (duration_ms IS NOT NULL)),
    FOREIGN KEY (world_id, media_id) REFERENCES media (world_id, id) ON DELETE CASCADE
);
"""

TRANSCRIPTIONS = """
CREATE TABLE transcriptions (
    world_id bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    recording_id text COLLATE "C" NOT NULL,
    media_id text COLLATE "C" NOT NULL,
    origin text NOT NULL CHECK (origin IN ('request', 'auto')),
    status text NOT NULL CHECK (status IN ('pending', 'processing', 'completed', 'failed')),
    progress real NOT NULL DEFAULT 0,
    -- The slot that the request or the configuration chose.
    provider text NOT NULL,
    language_asked text,
    diarization boolean NOT NULL,
    num_speakers integer,
    language text,
    language_probability real,
    model text,
    duration_ms bigint,
    full_text text,
    -- The contract's segments, as JSON, ready to be sent.
    segments bytea,
    word_count integer,
    confidence real,
    error_code text,
    error_message text,
    started_at timestamptz,
    completed_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id),
    CHECK ((status = 'completed') = (segments IS NOT NULL AND full_text IS NOT NULL)),
    CHECK ((status = 'failed') = (error_code IS NOT NULL)),
    FOREIGN KEY (world_id, recording_id) REFERENCES recordings (world_id, id) ON DELETE CASCADE
);
CREATE INDEX transcriptions_newest ON transcriptions (world_id, created_at DESC, id DESC);
CREATE INDEX transcriptions_of_recording ON transcriptions (world_id, recording_id, created_at DESC, id DESC);
CREATE INDEX transcriptions_by_status ON transcriptions (world_id, status, created_at DESC, id DESC);
-- An audio gets only one automatic transcription, even if its job runs several times.
CREATE UNIQUE INDEX transcriptions_one_auto ON transcriptions (world_id, media_id) WHERE origin = 'auto';

-- The results of finished steps, until the last step has assembled them.
CREATE TABLE transcription_pieces (
    world_id bigint NOT NULL,
    transcription_id text COLLATE "C" NOT NULL,
    stage text NOT NULL,
    piece integer NOT NULL,
    result bytea NOT NULL,
    PRIMARY KEY (world_id, transcription_id, stage, piece),
    FOREIGN KEY (world_id, transcription_id) REFERENCES transcriptions (world_id, id) ON DELETE CASCADE
);
"""

WORK = """
-- One row for each piece of work: the next step of a transcription (`id` is the transcription's id), or the
-- probe of an audio without a transcription (`id` is the media's id). Until `available_at`, the row belongs to
-- the worker's step that `lease` names. After that, any worker may take it.
CREATE TABLE speech_work (
    world_id bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    recording_id text COLLATE "C" NOT NULL,
    media_id text COLLATE "C" NOT NULL,
    transcription_id text COLLATE "C",
    lane text NOT NULL CHECK (lane IN ('decode', 'io', 'inference')),
    stage text NOT NULL CHECK (stage IN ('probe', 'transcribe', 'diarize', 'finish')),
    piece integer NOT NULL DEFAULT 0,
    -- The engine that began to transcribe. If the slot has another engine now, the transcription begins anew.
    engine text,
    available_at timestamptz NOT NULL,
    lease text,
    -- The tries of this step that failed, and the starts of this step without a known end.
    failures integer NOT NULL DEFAULT 0,
    starts integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id),
    FOREIGN KEY (world_id, recording_id) REFERENCES recordings (world_id, id) ON DELETE CASCADE,
    FOREIGN KEY (world_id, transcription_id) REFERENCES transcriptions (world_id, id) ON DELETE CASCADE
);
CREATE INDEX speech_work_line ON speech_work (lane, world_id, created_at, id);
CREATE INDEX speech_work_leased ON speech_work (lane, world_id) WHERE lease IS NOT NULL;
CREATE INDEX speech_work_of_recording ON speech_work (world_id, recording_id);
CREATE INDEX speech_work_of_transcription ON speech_work (world_id, transcription_id);

-- The time at which each world was last served. Among worlds with equally many steps under way, the world that
-- has waited longest is served next.
CREATE TABLE speech_turns (
    lane text NOT NULL,
    world_id bigint NOT NULL REFERENCES worlds (id),
    served_at timestamptz NOT NULL,
    PRIMARY KEY (lane, world_id)
);
"""


def upgrade() -> None:
    for block in (PROBES, TRANSCRIPTIONS, WORK):
        script(block)
