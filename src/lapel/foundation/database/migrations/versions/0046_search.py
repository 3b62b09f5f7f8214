"""The index of transcripts: chunks with their words, and vectors of their meaning.

The extension pgvector is needed from here on. Only an administrator may create it, unless the server says
otherwise, so a database of the operator's own has it before this revision.
"""

from lapel.foundation.database.migrations import script

revision = "0046"
down_revision = "0045"

_EXTENSION = """
DO $$
DECLARE
    remedy constant text := 'Install pgvector 0.8 or newer on the server, and run `CREATE EXTENSION vector` in '
        'this database as an administrator. Then migrate again.';
    found text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') THEN
        BEGIN
            CREATE EXTENSION vector;
        EXCEPTION WHEN OTHERS THEN
            RAISE EXCEPTION 'Lapel needs the extension pgvector, and this database has none (%). %', SQLERRM, remedy;
        END;
    END IF;
    SELECT extversion INTO found FROM pg_extension WHERE extname = 'vector';
    IF (string_to_array(found, '.')::int[])[1:2] < ARRAY[0, 8] THEN
        RAISE EXCEPTION 'Lapel needs pgvector 0.8 or newer, and this database has %. %', found, remedy;
    END IF;
END $$
"""

_TABLES = """
CREATE TABLE search_transcripts (
    world_id bigint NOT NULL,
    recording_id text COLLATE "C" NOT NULL,
    transcription_id text COLLATE "C" NOT NULL,
    end_user_id text COLLATE "C" NOT NULL,
    configuration text NOT NULL,
    chunks integer NOT NULL,
    model text COLLATE "C",
    embed_at timestamptz,
    lease text COLLATE "C",
    tries integer NOT NULL DEFAULT 0,
    has_old boolean NOT NULL DEFAULT false,
    indexed_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, recording_id),
    FOREIGN KEY (world_id, recording_id) REFERENCES recordings (world_id, id) ON DELETE CASCADE
);
CREATE INDEX search_transcripts_of_end_user ON search_transcripts (world_id, end_user_id)
    INCLUDE (configuration, chunks, model);
CREATE INDEX search_transcripts_due ON search_transcripts (world_id, embed_at, recording_id)
    WHERE embed_at IS NOT NULL;
CREATE INDEX search_transcripts_with_old ON search_transcripts (model) WHERE has_old;
CREATE INDEX search_transcripts_of_model ON search_transcripts (model, world_id, recording_id)
    WHERE embed_at IS NULL AND model IS NOT NULL;

CREATE TABLE search_chunks (
    world_id bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    recording_id text COLLATE "C" NOT NULL,
    transcription_id text COLLATE "C" NOT NULL,
    end_user_id text COLLATE "C" NOT NULL,
    recorded_at timestamptz,
    place integer NOT NULL,
    chunk_text text NOT NULL,
    speaker text,
    start_ms integer NOT NULL,
    end_ms integer NOT NULL,
    words tsvector NOT NULL,
    PRIMARY KEY (world_id, id),
    FOREIGN KEY (world_id, recording_id) REFERENCES recordings (world_id, id) ON DELETE CASCADE
);
CREATE INDEX search_chunks_of_recording ON search_chunks (world_id, recording_id, place);
CREATE INDEX search_chunks_words ON search_chunks USING gin (words) WITH (fastupdate = off);

CREATE TABLE search_vectors (
    world_id bigint NOT NULL,
    chunk_id text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    recording_id text COLLATE "C" NOT NULL,
    end_user_id text COLLATE "C" NOT NULL,
    recorded_at timestamptz,
    configuration text NOT NULL,
    meaning halfvec(384) NOT NULL,
    PRIMARY KEY (world_id, end_user_id, model, chunk_id),
    FOREIGN KEY (world_id, recording_id) REFERENCES recordings (world_id, id) ON DELETE CASCADE
) PARTITION BY HASH (world_id, end_user_id);
"""
# The index of an end user with many chunks has few of others: its walk passes over fewer vectors.
_PARTITIONS = "\n".join(
    f"CREATE TABLE search_vectors_{part} PARTITION OF search_vectors "
    f"FOR VALUES WITH (MODULUS 8, REMAINDER {part});"
    for part in range(8)
)
_INDEXES = """
CREATE INDEX search_vectors_of_recording ON search_vectors (world_id, recording_id);
CREATE INDEX search_vectors_meaning ON search_vectors USING hnsw (meaning halfvec_ip_ops);

CREATE TABLE search_turns (
    world_id bigint PRIMARY KEY REFERENCES worlds (id) ON DELETE CASCADE,
    served_at timestamptz NOT NULL
);
"""


def upgrade() -> None:
    script(_EXTENSION)
    script(_TABLES)
    script(_PARTITIONS)
    script(_INDEXES)
