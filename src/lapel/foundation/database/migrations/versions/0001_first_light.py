"""Projects, worlds, keys, end users, devices, recordings, media, outbox, erasure ledger.

A table of this revision with `world_id` has this column first in its primary key; only in tables of tokens,
the token's hash is the key. Such tables refer to each other by `(world_id, id)`, so a reference to another
world's row cannot be stored. Ids are `COLLATE "C"`: they are compared byte by byte, so their index order is
their time order.
"""

from lapel.foundation.database.migrations import script

revision = "0001"
down_revision = None

TENANCY = """
CREATE TABLE organizations (
    id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE projects (
    id text COLLATE "C" PRIMARY KEY,
    organization_id text COLLATE "C" NOT NULL REFERENCES organizations (id),
    name text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX projects_by_organization ON projects (organization_id);

CREATE TABLE worlds (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id text COLLATE "C" NOT NULL REFERENCES projects (id),
    mode text NOT NULL CHECK (mode IN ('live', 'test')),
    UNIQUE (project_id, mode)
);
"""

END_USERS = """
CREATE TABLE end_users (
    world_id bigint NOT NULL REFERENCES worlds (id),
    id text COLLATE "C" NOT NULL,
    external_id text COLLATE "C",
    name text,
    email text,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    PRIMARY KEY (world_id, id)
);
CREATE UNIQUE INDEX end_users_active_external_id ON end_users (world_id, external_id)
    WHERE deleted_at IS NULL AND external_id IS NOT NULL;
CREATE INDEX end_users_newest ON end_users (world_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;

CREATE TABLE end_user_tokens (
    token_hash bytea PRIMARY KEY,
    world_id bigint NOT NULL,
    end_user_id text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    FOREIGN KEY (world_id, end_user_id) REFERENCES end_users (world_id, id)
);
CREATE UNIQUE INDEX end_user_tokens_one_each ON end_user_tokens (world_id, end_user_id);
"""

KEYS = """
CREATE TABLE api_keys (
    world_id bigint NOT NULL REFERENCES worlds (id),
    id text COLLATE "C" NOT NULL,
    secret_hash bytea NOT NULL UNIQUE,
    kind text NOT NULL CHECK (kind IN ('secret', 'restricted')),
    name text,
    hint text NOT NULL,
    scopes text[] NOT NULL,
    end_user_id text COLLATE "C",
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    -- The key that replaced this key in a rotation.
    rotated_to text COLLATE "C",
    created_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id),
    FOREIGN KEY (world_id, end_user_id) REFERENCES end_users (world_id, id),
    FOREIGN KEY (world_id, rotated_to) REFERENCES api_keys (world_id, id)
);
CREATE INDEX api_keys_newest ON api_keys (world_id, created_at DESC, id DESC);
CREATE INDEX api_keys_of_end_user ON api_keys (world_id, end_user_id, created_at DESC, id DESC)
    WHERE end_user_id IS NOT NULL;

-- Processes that cache keys; a revocation waits for each of them (foundation/identity/key_cache.py).
CREATE TABLE key_caches (
    process_id text COLLATE "C" PRIMARY KEY,
    seen_at timestamptz NOT NULL
);
"""

DEVICES = """
CREATE TABLE devices (
    world_id bigint NOT NULL REFERENCES worlds (id),
    id text COLLATE "C" NOT NULL,
    serial_number text COLLATE "C" NOT NULL,
    model text NOT NULL,
    name text,
    firmware_version text,
    end_user_id text COLLATE "C",
    binding_generation integer NOT NULL DEFAULT 0,
    bound_at timestamptz,
    public_key text,
    battery_percent integer,
    storage_used_mb bigint,
    storage_total_mb bigint,
    signal_strength_dbm integer,
    last_heartbeat_at timestamptz,
    last_seen_at timestamptz,
    last_synced_at timestamptz,
    recording_state jsonb,
    metadata jsonb NOT NULL DEFAULT '{}',
    settings jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id),
    UNIQUE (world_id, serial_number),
    FOREIGN KEY (world_id, end_user_id) REFERENCES end_users (world_id, id)
);
CREATE INDEX devices_newest ON devices (world_id, created_at DESC, id DESC);
CREATE INDEX devices_of_end_user ON devices (world_id, end_user_id, created_at DESC, id DESC)
    WHERE end_user_id IS NOT NULL;
CREATE INDEX devices_bound ON devices (world_id, created_at DESC, id DESC) WHERE end_user_id IS NOT NULL;
CREATE INDEX devices_unbound ON devices (world_id, created_at DESC, id DESC) WHERE end_user_id IS NULL;

-- A 'current' token may do everything. After a refresh, the old token is 'refreshing' (it may only call
-- token/refresh) and the new token is 'fresh'. When the new token is first used, the old token is deleted.
CREATE TABLE device_tokens (
    token_hash bytea PRIMARY KEY,
    world_id bigint NOT NULL,
    device_id text COLLATE "C" NOT NULL,
    binding_generation integer NOT NULL,
    state text NOT NULL CHECK (state IN ('current', 'refreshing', 'fresh')),
    created_at timestamptz NOT NULL,
    FOREIGN KEY (world_id, device_id) REFERENCES devices (world_id, id)
);
CREATE UNIQUE INDEX device_tokens_one_per_state ON device_tokens (world_id, device_id, state);
"""

RECORDINGS = """
CREATE TABLE recordings (
    world_id bigint NOT NULL REFERENCES worlds (id),
    id text COLLATE "C" NOT NULL,
    end_user_id text COLLATE "C" NOT NULL,
    device_id text COLLATE "C",
    name text,
    status text NOT NULL CHECK (status IN ('pending', 'uploaded', 'failed', 'integrity_failure')),
    source text NOT NULL,
    upload_method text,
    duration_ms bigint,
    started_at timestamptz,
    ended_at timestamptz,
    recorded_at timestamptz,
    transcription_id text COLLATE "C",
    metadata jsonb NOT NULL DEFAULT '{}',
    content_sha256 text COLLATE "C",
    content_sha256_verified_at timestamptz,
    file_size_bytes bigint,
    mime_type text,
    recording_uuid text COLLATE "C",
    recording_generation bigint,
    encryption_version integer,
    consent_obtained boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    uploaded_at timestamptz,
    PRIMARY KEY (world_id, id),
    FOREIGN KEY (world_id, end_user_id) REFERENCES end_users (world_id, id),
    FOREIGN KEY (world_id, device_id) REFERENCES devices (world_id, id)
);
CREATE INDEX recordings_newest ON recordings (world_id, created_at DESC, id DESC);
CREATE INDEX recordings_of_end_user ON recordings (world_id, end_user_id, created_at DESC, id DESC);
CREATE INDEX recordings_of_device ON recordings (world_id, device_id, created_at DESC, id DESC)
    WHERE device_id IS NOT NULL;
CREATE INDEX recordings_by_status ON recordings (world_id, status, created_at DESC, id DESC);
CREATE INDEX recordings_by_time ON recordings (world_id, recorded_at) WHERE recorded_at IS NOT NULL;
CREATE UNIQUE INDEX recordings_device_uuid
    ON recordings (world_id, device_id, recording_uuid, recording_generation) NULLS NOT DISTINCT
    WHERE device_id IS NOT NULL AND recording_uuid IS NOT NULL;

CREATE TABLE media (
    world_id bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    recording_id text COLLATE "C" NOT NULL,
    type text NOT NULL CHECK (type IN ('audio', 'image', 'video')),
    status text NOT NULL CHECK (status IN ('pending', 'verifying', 'uploaded', 'failed')),
    content_type text NOT NULL,
    file_size_bytes bigint,
    sha256 text COLLATE "C",
    object_key text COLLATE "C",
    captured_at timestamptz,
    duration_ms bigint,
    created_at timestamptz NOT NULL,
    uploaded_at timestamptz,
    last_url_expires_at timestamptz NOT NULL,
    -- While the media is pending or being verified: the time at which the reconciler checks it next.
    reconcile_at timestamptz NOT NULL,
    failure text,
    PRIMARY KEY (world_id, recording_id, id),
    UNIQUE (world_id, id),
    FOREIGN KEY (world_id, recording_id) REFERENCES recordings (world_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX media_one_audio ON media (world_id, recording_id) WHERE type = 'audio';
CREATE INDEX media_unfinished ON media (reconcile_at) WHERE status IN ('pending', 'verifying');
-- Every copy belongs to one media. The reconciler reads rows and objects together in the order of this index.
CREATE UNIQUE INDEX media_object ON media (object_key) WHERE object_key IS NOT NULL;

-- One row per upload URL. A verification (hash of a large object) is a state of the attempt.
CREATE TABLE upload_attempts (
    world_id bigint NOT NULL,
    media_id text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    staging_key text COLLATE "C" NOT NULL UNIQUE,
    content_type text NOT NULL,
    file_size_bytes bigint,
    sha256 text COLLATE "C",
    state text NOT NULL CHECK (state IN ('issued', 'verifying', 'accepted', 'refused')),
    expected_sha256 text COLLATE "C",
    expected_size bigint,
    expected_duration_ms bigint,
    url_expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, media_id, id),
    FOREIGN KEY (world_id, media_id) REFERENCES media (world_id, id) ON DELETE CASCADE
);
CREATE INDEX upload_attempts_swept ON upload_attempts (url_expires_at);

CREATE TABLE upload_tokens (
    token_hash bytea PRIMARY KEY,
    world_id bigint NOT NULL,
    recording_id text COLLATE "C" NOT NULL,
    expires_at timestamptz NOT NULL,
    FOREIGN KEY (world_id, recording_id) REFERENCES recordings (world_id, id) ON DELETE CASCADE
);
CREATE INDEX upload_tokens_of_recording ON upload_tokens (world_id, recording_id);
CREATE INDEX upload_tokens_expired ON upload_tokens (expires_at);
"""

ERASURE = """
-- The id and the times of a deleted recording. They contain no personal data.
CREATE TABLE tombstones (
    world_id bigint NOT NULL REFERENCES worlds (id),
    id text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    deleted_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id)
);

-- The erasure ledger. An entry is written before anything is erased. It is closed when a second listing, made
-- after `links_expire_at` plus a margin, finds no objects either.
CREATE TABLE erasures (
    world_id bigint NOT NULL REFERENCES worlds (id),
    id text COLLATE "C" NOT NULL,
    resource_type text NOT NULL CHECK (resource_type IN ('recording', 'end_user')),
    resource_id text COLLATE "C" NOT NULL,
    -- Set if the recording was deleted because its end user was deleted.
    end_user_id text COLLATE "C",
    prefixes text[] NOT NULL,
    links_expire_at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'erased', 'closed')),
    objects_erased bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL DEFAULT '-infinity',
    first_empty_at timestamptz,
    closed_at timestamptz,
    PRIMARY KEY (world_id, id),
    UNIQUE (world_id, resource_type, resource_id)
);
CREATE INDEX erasures_unfinished ON erasures (due_at) WHERE state <> 'closed';
CREATE INDEX erasures_of_end_user ON erasures (world_id, end_user_id, id) WHERE end_user_id IS NOT NULL;
CREATE INDEX erasures_newest ON erasures (world_id, created_at DESC, id DESC);
"""

OUTBOX = """
-- `body` holds the frozen bytes that every delivery of this event sends.
CREATE TABLE events (
    world_id bigint NOT NULL REFERENCES worlds (id),
    id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    dedupe text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id),
    UNIQUE (world_id, dedupe)
);
CREATE INDEX events_of_resource ON events (world_id, resource_id);
CREATE INDEX events_by_age ON events (created_at);

CREATE TABLE idempotency_keys (
    world_id bigint NOT NULL,
    principal text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL,
    status smallint NOT NULL,
    sealed_body bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, principal, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Processes take requests from these counters in batches (foundation/http/rate_limits.py). Losing the counters
-- is harmless.
CREATE UNLOGGED TABLE rate_windows (
    bucket text COLLATE "C" NOT NULL,
    window_start bigint NOT NULL,
    used bigint NOT NULL,
    PRIMARY KEY (bucket, window_start)
);

-- The positions at which the reconciler's long scans of the store continue.
CREATE TABLE walks (
    name text COLLATE "C" PRIMARY KEY,
    position text COLLATE "C" NOT NULL,
    moved_at timestamptz NOT NULL
);

-- The number of findings of the reconciler, by kind, since the installation.
CREATE TABLE findings (
    kind text COLLATE "C" PRIMARY KEY,
    found bigint NOT NULL,
    last_found_at timestamptz NOT NULL
);

-- The starts of each job, counted before the handler runs, so that a job that kills its worker is not started
-- again and again.
CREATE TABLE job_starts (
    job_id bigint PRIMARY KEY,
    starts integer NOT NULL,
    last_started_at timestamptz NOT NULL
);

-- One row for each running worker. If no worker runs that could verify, upload-complete answers 503.
CREATE TABLE workers (
    process_id text COLLATE "C" PRIMARY KEY,
    seen_at timestamptz NOT NULL
);
"""


def upgrade() -> None:
    for block in (TENANCY, END_USERS, KEYS, DEVICES, RECORDINGS, ERASURE, OUTBOX):
        script(block)
