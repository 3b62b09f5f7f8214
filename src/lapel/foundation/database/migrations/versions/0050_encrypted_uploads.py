"""Encrypted uploads: sessions, the keys that sign documents for devices, and revisions of the policy."""

from lapel.foundation.database.migrations import script

revision = "0050"
down_revision = "0049"

KEYS = """
-- The keys that sign authorizations and receipts, of both worlds of a project. Devices know the public keys by
-- number. The active one signs: it is activated and not retired. One that is not activated yet is prepared, so that
-- devices can learn its public key before.
CREATE TABLE document_signing_keys (
    project_id text COLLATE "C" NOT NULL REFERENCES projects (id),
    key_id bigint NOT NULL CHECK (key_id BETWEEN 1 AND 4294967295),
    -- P-256: x and y, 32 bytes each.
    public_key bytea NOT NULL CHECK (octet_length(public_key) = 64),
    -- NULL once the key is retired, because a retired key signs nothing more.
    sealed_private_key bytea,
    created_at timestamptz NOT NULL,
    activated_at timestamptz,
    retired_at timestamptz,
    PRIMARY KEY (project_id, key_id),
    CHECK (retired_at IS NULL OR activated_at IS NOT NULL),
    CHECK ((retired_at IS NULL) = (sealed_private_key IS NOT NULL))
);
CREATE UNIQUE INDEX document_signing_keys_active ON document_signing_keys (project_id)
    WHERE activated_at IS NOT NULL AND retired_at IS NULL;
CREATE UNIQUE INDEX document_signing_keys_prepared ON document_signing_keys (project_id) WHERE activated_at IS NULL;
"""

POLICIES = """
-- The revision of a project's newest policy document, of both worlds. It only rises.
CREATE TABLE upload_policy_counters (
    project_id text COLLATE "C" PRIMARY KEY REFERENCES projects (id),
    revision bigint NOT NULL CHECK (revision > 0)
);

-- The policy and the digest of the configuration that a device was told last, and their revision.
CREATE TABLE upload_policies (
    world_id bigint NOT NULL,
    device_id text COLLATE "C" NOT NULL,
    revision bigint NOT NULL CHECK (revision > 0),
    policy text NOT NULL CHECK (policy IN ('legacy_allowed', 'v2_preferred', 'v2_required')),
    configuration_sha256 bytea NOT NULL CHECK (octet_length(configuration_sha256) = 32),
    PRIMARY KEY (world_id, device_id),
    FOREIGN KEY (world_id, device_id) REFERENCES devices (world_id, id) ON DELETE CASCADE
);
"""

SESSIONS = """
CREATE TABLE encrypted_upload_sessions (
    world_id bigint NOT NULL,
    -- A UUID of version 4, lower case.
    id text COLLATE "C" NOT NULL,
    recording_id text COLLATE "C" NOT NULL,
    device_id text COLLATE "C" NOT NULL,
    end_user_id text COLLATE "C" NOT NULL,
    owner_revision integer NOT NULL CHECK (owner_revision > 0),
    state text NOT NULL CHECK (state IN ('staging', 'ready', 'processing', 'published', 'failed', 'cancelled')),
    channel text NOT NULL CHECK (channel IN ('ble', 'wifi', 'cellular')),
    policy text NOT NULL CHECK (policy IN ('legacy_allowed', 'v2_preferred', 'v2_required')),
    policy_revision bigint NOT NULL,
    binding_generation bigint NOT NULL,
    recording_uuid text COLLATE "C" NOT NULL,
    recording_generation bigint NOT NULL,
    -- What the request said, beside the above.
    capabilities bytea NOT NULL CHECK (octet_length(capabilities) = 24),
    auth_nonce bytea NOT NULL CHECK (octet_length(auth_nonce) = 16),
    ciphertext_length bigint NOT NULL,
    ciphertext_sha256 text COLLATE "C" NOT NULL,
    staging_key text COLLATE "C" NOT NULL,
    -- "authorization" is a reserved word.
    upload_authorization bytea NOT NULL CHECK (octet_length(upload_authorization) = 408),
    -- The configuration of the device, as its digest in the authorization was made.
    configuration bytea NOT NULL,
    recipient_key_id text COLLATE "C" NOT NULL,
    -- The private X25519 key. NULL once nothing is opened with it any more.
    sealed_recipient_key bytea,
    -- The session that this one was recovered from.
    predecessor_id text COLLATE "C",
    -- The manifest that was accepted; the same bytes are accepted for ever.
    manifest bytea CHECK (octet_length(manifest) = 580),
    accepted_at timestamptz,
    -- Publication: who works on it until when, the next try, and how many there were.
    lease text COLLATE "C",
    publish_at timestamptz,
    tries integer NOT NULL DEFAULT 0,
    media_id text COLLATE "C",
    plaintext_length bigint,
    -- The first receipt, whose bytes are answered for ever.
    receipt bytea CHECK (octet_length(receipt) = 336),
    published_at timestamptz,
    -- The reason for which the session failed, and the sentence that clients see.
    failure_code text,
    failure_message text,
    -- The time at which the staged object can be deleted; NULL once it is.
    clear_at timestamptz,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id),
    CHECK ((state IN ('ready', 'processing', 'published')) <= (manifest IS NOT NULL)),
    CHECK ((state = 'published') = (receipt IS NOT NULL)),
    CHECK ((state = 'failed') = (failure_code IS NOT NULL)),
    FOREIGN KEY (world_id, recording_id) REFERENCES recordings (world_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX encrypted_upload_sessions_open ON encrypted_upload_sessions (world_id, recording_id)
    WHERE state IN ('staging', 'ready', 'processing');
CREATE INDEX encrypted_upload_sessions_of_recording
    ON encrypted_upload_sessions (world_id, recording_id, created_at DESC);
CREATE UNIQUE INDEX encrypted_upload_sessions_successor ON encrypted_upload_sessions (world_id, predecessor_id)
    WHERE predecessor_id IS NOT NULL;
CREATE INDEX encrypted_upload_sessions_due ON encrypted_upload_sessions (publish_at)
    WHERE state IN ('ready', 'processing');
CREATE INDEX encrypted_upload_sessions_staged ON encrypted_upload_sessions (clear_at) WHERE clear_at IS NOT NULL;
"""


def upgrade() -> None:
    script(KEYS)
    script(POLICIES)
    script(SESSIONS)
