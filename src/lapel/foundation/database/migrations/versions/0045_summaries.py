"""Summaries, the templates of projects, and the work on summaries."""

from lapel.foundation.database.migrations import script

revision = "0045"
down_revision = "0044"

TEMPLATES = """
-- The templates of a project. The built-in templates are in the code.
CREATE TABLE summary_templates (
    world_id bigint NOT NULL REFERENCES worlds (id),
    id text COLLATE "C" NOT NULL,
    name text NOT NULL,
    description text,
    -- The newest version.
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id)
);
CREATE INDEX summary_templates_newest ON summary_templates (world_id, created_at DESC, id DESC);

-- A version never changes, so a summary is made with the version that its request found.
CREATE TABLE summary_template_versions (
    world_id bigint NOT NULL,
    template_id text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    instructions text NOT NULL,
    -- JSON, as the client sent it.
    output_schema bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, template_id, version),
    FOREIGN KEY (world_id, template_id) REFERENCES summary_templates (world_id, id) ON DELETE CASCADE
);
"""

SUMMARIES = """
CREATE TABLE summaries (
    world_id bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    recording_id text COLLATE "C" NOT NULL,
    transcription_id text COLLATE "C" NOT NULL,
    origin text NOT NULL CHECK (origin IN ('request', 'auto')),
    status text NOT NULL CHECK (status IN ('pending', 'processing', 'completed', 'failed')),
    -- Built-in or of the project; the summary stays when the template is deleted.
    template_id text COLLATE "C",
    template_version integer,
    custom_prompt text,
    -- The slot that the request or the configuration chose.
    provider text NOT NULL CHECK (provider IN ('gemini', 'openai', 'claude', 'local')),
    model text,
    -- JSON, ready to be sent.
    output bytea,
    error_code text CHECK (error_code IN (
        'processing_error', 'provider_error', 'transcript_too_short', 'template_not_found')),
    error_message text,
    -- Whether a newer summary of the same transcription and template is completed.
    replaced boolean NOT NULL DEFAULT false,
    started_at timestamptz,
    completed_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id),
    CHECK ((status = 'completed') = (output IS NOT NULL)),
    CHECK ((status = 'failed') = (error_code IS NOT NULL)),
    CHECK (template_id IS NULL OR custom_prompt IS NULL),
    FOREIGN KEY (world_id, recording_id) REFERENCES recordings (world_id, id) ON DELETE CASCADE,
    FOREIGN KEY (world_id, transcription_id) REFERENCES transcriptions (world_id, id) ON DELETE CASCADE
);
CREATE INDEX summaries_newest ON summaries (world_id, created_at DESC, id DESC) WHERE NOT replaced;
CREATE INDEX summaries_of_recording ON summaries (world_id, recording_id, created_at DESC, id DESC);
CREATE INDEX summaries_of_transcription ON summaries (world_id, transcription_id, created_at DESC, id DESC);
-- A transcription gets only one automatic summary.
CREATE UNIQUE INDEX summaries_one_auto ON summaries (world_id, transcription_id) WHERE origin = 'auto';
"""

WORK = """
-- One row for each summary that has not ended. Until `available_at`, the row belongs to the worker that `lease`
-- names. After that, any worker may take it.
CREATE TABLE summary_work (
    world_id bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    recording_id text COLLATE "C" NOT NULL,
    available_at timestamptz NOT NULL,
    lease text,
    -- The tries that failed, and the starts without a known end.
    failures integer NOT NULL DEFAULT 0,
    starts integer NOT NULL DEFAULT 0,
    -- The first failure of the tries.
    failing_since timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id),
    FOREIGN KEY (world_id, id) REFERENCES summaries (world_id, id) ON DELETE CASCADE
);
CREATE INDEX summary_work_line ON summary_work (world_id, created_at, id);
CREATE INDEX summary_work_leased ON summary_work (world_id) WHERE lease IS NOT NULL;
CREATE INDEX summary_work_of_recording ON summary_work (world_id, recording_id);

-- What the model wrote about parts of a long transcript, until the summary has ended.
CREATE TABLE summary_parts (
    world_id bigint NOT NULL,
    summary_id text COLLATE "C" NOT NULL,
    part text COLLATE "C" NOT NULL,
    result bytea NOT NULL,
    PRIMARY KEY (world_id, summary_id, part),
    FOREIGN KEY (world_id, summary_id) REFERENCES summaries (world_id, id) ON DELETE CASCADE
);

-- The time at which each world was last served.
CREATE TABLE summary_turns (
    world_id bigint PRIMARY KEY REFERENCES worlds (id),
    served_at timestamptz NOT NULL
);
"""


def upgrade() -> None:
    for block in (TEMPLATES, SUMMARIES, WORK):
        script(block)
