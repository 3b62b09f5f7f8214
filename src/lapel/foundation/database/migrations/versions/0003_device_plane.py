"""The device plane: heartbeats, diagnostics, commands, configuration, firmware, the audit log.

A heartbeat is the most frequent write. Most heartbeats change no indexed column, so PostgreSQL updates no
index (HOT). The search for silent devices therefore uses `heartbeat_slot`, an interval of time that changes
rarely.
"""

from lapel.foundation.database.migrations import script

revision = "0003"
down_revision = "0002"

HEARTBEATS = """
-- The row of a deleted device is emptied and stays, because its recordings stay and contain its id.
ALTER TABLE devices ADD COLUMN deleted_at timestamptz;
ALTER TABLE devices DROP CONSTRAINT devices_world_id_serial_number_key;
CREATE UNIQUE INDEX devices_active_serial_number ON devices (world_id, serial_number) WHERE deleted_at IS NULL;
DROP INDEX devices_newest, devices_unbound;
CREATE INDEX devices_newest ON devices (world_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX devices_unbound ON devices (world_id, created_at DESC, id DESC)
    WHERE end_user_id IS NULL AND deleted_at IS NULL;

ALTER TABLE devices
    ADD COLUMN last_seen_by text,
    ADD COLUMN last_synced_by text,
    -- The recording under way, as the device reports it, and what started it.
    ADD COLUMN active_recording_id text COLLATE "C",
    ADD COLUMN active_since timestamptz,
    ADD COLUMN initiated_by text CHECK (initiated_by IN ('local', 'remote')),
    ADD COLUMN client_context jsonb,
    -- Minutes since 1970: the time of the last heartbeat, or up to ten minutes earlier, so that the value
    -- changes rarely. NULL before the first heartbeat, and while the device is not bound.
    ADD COLUMN heartbeat_slot integer,
    -- The start of an episode, at which the event is raised. NULL when the episode has ended: the device was
    -- heard again, or its battery is charged again.
    ADD COLUMN offline_since timestamptz,
    ADD COLUMN low_battery_since timestamptz,
    -- Raised by every change of this device's resolved configuration: see configuration_revisions.
    ADD COLUMN config_revision bigint NOT NULL DEFAULT 0;
ALTER TABLE devices SET (fillfactor = 70);
CREATE INDEX devices_heard ON devices (heartbeat_slot) WHERE heartbeat_slot IS NOT NULL AND offline_since IS NULL AND deleted_at IS NULL;

CREATE TABLE device_diagnostics (
    world_id bigint NOT NULL,
    device_id text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    -- The end user to whom the device was bound. The row is deleted with this end user.
    end_user_id text COLLATE "C",
    schema_version integer,
    body jsonb NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, device_id, event_id),
    FOREIGN KEY (world_id, device_id) REFERENCES devices (world_id, id) ON DELETE CASCADE,
    FOREIGN KEY (world_id, end_user_id) REFERENCES end_users (world_id, id)
);
CREATE INDEX device_diagnostics_by_age ON device_diagnostics (received_at);
CREATE INDEX device_diagnostics_of_end_user ON device_diagnostics (world_id, end_user_id)
    WHERE end_user_id IS NOT NULL;
"""

COMMANDS = """
-- 'expired' is not stored: a command that is pending or delivered past `expires_at` is expired.
CREATE TABLE commands (
    world_id bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    device_id text COLLATE "C" NOT NULL,
    -- The end user to whom the device was bound. Keys of this end user see the command, and it is deleted with
    -- this end user.
    end_user_id text COLLATE "C" NOT NULL,
    binding_generation integer NOT NULL,
    type text NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'delivered', 'executed', 'failed', 'cancelled')),
    params jsonb NOT NULL,
    result jsonb,
    error jsonb,
    idempotency_key text COLLATE "C",
    expires_at timestamptz NOT NULL,
    delivered_at timestamptz,
    executed_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id),
    FOREIGN KEY (world_id, device_id) REFERENCES devices (world_id, id) ON DELETE CASCADE,
    FOREIGN KEY (world_id, end_user_id) REFERENCES end_users (world_id, id)
);
CREATE INDEX commands_newest ON commands (world_id, device_id, created_at DESC, id DESC);
CREATE INDEX commands_ended ON commands (world_id, device_id, status, created_at DESC, id DESC)
    WHERE status IN ('executed', 'failed', 'cancelled');
-- Two indexes of commands that are `pending` or `delivered`: the first finds open commands, which are few, by
-- expiry. The second finds expired commands, which may be many, newest first.
CREATE INDEX commands_open ON commands (world_id, device_id, expires_at) WHERE status IN ('pending', 'delivered');
CREATE INDEX commands_expired ON commands (world_id, device_id, created_at DESC, id DESC)
    WHERE status IN ('pending', 'delivered');
CREATE INDEX commands_of_end_user ON commands (world_id, end_user_id);
CREATE UNIQUE INDEX commands_once ON commands (world_id, device_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
"""

CONFIGURATION = """
-- One sequence for all levels. A device's revision is the greatest of three: that of its world, of its end user
-- and its own. A writer takes the next number while it holds a lock of its organization, so the numbers grow in
-- the order of commits. The organization's level exists once for each mode: a write to it raises the revision of
-- each of the organization's worlds of this mode.
CREATE SEQUENCE configuration_revisions;

ALTER TABLE worlds ADD COLUMN config_revision bigint NOT NULL DEFAULT 0;
ALTER TABLE end_users ADD COLUMN config_revision bigint NOT NULL DEFAULT 0;

CREATE TABLE config_overrides (
    world_id bigint NOT NULL REFERENCES worlds (id),
    level text NOT NULL CHECK (level IN ('project', 'end_user', 'device')),
    -- The id of the end user or of the device; '' on the level of the project.
    subject_id text COLLATE "C" NOT NULL,
    section text COLLATE "C" NOT NULL,
    value jsonb NOT NULL,
    revision bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, level, subject_id, section)
);

CREATE TABLE organization_config_overrides (
    organization_id text COLLATE "C" NOT NULL REFERENCES organizations (id),
    mode text NOT NULL CHECK (mode IN ('live', 'test')),
    section text COLLATE "C" NOT NULL,
    value jsonb NOT NULL,
    revision bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, mode, section)
);

CREATE TABLE audit_log (
    world_id bigint NOT NULL REFERENCES worlds (id),
    id text COLLATE "C" NOT NULL,
    -- The actor of the change: its kind and its id. The command line has the kind 'operator' and no id.
    actor_kind text NOT NULL,
    actor_id text COLLATE "C",
    action text NOT NULL,
    resource_type text NOT NULL,
    resource_id text COLLATE "C",
    before jsonb,
    after jsonb,
    request_id text COLLATE "C",
    created_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id)
);
CREATE INDEX audit_log_newest ON audit_log (world_id, created_at DESC, id DESC);
CREATE INDEX audit_log_of_type ON audit_log (world_id, resource_type, created_at DESC, id DESC);
CREATE INDEX audit_log_of_resource ON audit_log (world_id, resource_id, created_at DESC, id DESC);
"""

FIRMWARE = """
CREATE TABLE firmware_releases (
    world_id bigint NOT NULL REFERENCES worlds (id),
    id text COLLATE "C" NOT NULL,
    version text NOT NULL,
    model text NOT NULL,
    changelog text,
    released_at timestamptz,
    release_sequence bigint,
    allow_downgrade boolean NOT NULL,
    bin_object_key text COLLATE "C" NOT NULL UNIQUE,
    bin_sha256 text COLLATE "C" NOT NULL,
    bin_file_size_bytes bigint NOT NULL,
    bin_crc32 text NOT NULL,
    ufw_object_key text COLLATE "C" UNIQUE,
    ufw_sha256 text COLLATE "C",
    ufw_file_size_bytes bigint,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id),
    UNIQUE (world_id, model, version)
);
CREATE INDEX firmware_releases_newest ON firmware_releases (world_id, created_at DESC, id DESC);
CREATE INDEX firmware_releases_of_model ON firmware_releases (world_id, model, created_at DESC, id DESC)
    WHERE released_at IS NOT NULL;

CREATE TABLE rollouts (
    world_id bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    firmware_release_id text COLLATE "C" NOT NULL,
    model text NOT NULL,
    percent integer NOT NULL CHECK (percent BETWEEN 1 AND 100),
    max_failure_rate double precision NOT NULL CHECK (max_failure_rate BETWEEN 0 AND 1),
    deadline_hours integer NOT NULL CHECK (deadline_hours > 0),
    status text NOT NULL CHECK (status IN ('running', 'paused', 'halted', 'completed')),
    halt_reason text,
    -- The position at which the scan of the model's devices continues, the number of devices that have got
    -- an offer, and the end of the last complete scan.
    position text COLLATE "C" NOT NULL DEFAULT '',
    offered integer NOT NULL DEFAULT 0,
    walked_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (world_id, id),
    FOREIGN KEY (world_id, firmware_release_id) REFERENCES firmware_releases (world_id, id)
);
CREATE INDEX rollouts_of_release ON rollouts (world_id, firmware_release_id, created_at DESC, id DESC);
-- A model has at most one rollout that is running or paused. A newer rollout halts the previous one.
CREATE UNIQUE INDEX rollouts_live ON rollouts (world_id, model) WHERE status IN ('running', 'paused');
CREATE INDEX devices_of_model ON devices (world_id, model, id) WHERE deleted_at IS NULL;

CREATE TABLE ota_assignments (
    world_id bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    device_id text COLLATE "C" NOT NULL,
    firmware_release_id text COLLATE "C" NOT NULL,
    rollout_id text COLLATE "C",
    status text NOT NULL CHECK (status IN ('pending', 'delivered', 'applied', 'failed', 'cancelled')),
    error_message text,
    -- True if the offer was cancelled because its rollout paused or halted. A resumed rollout may offer the
    -- release to this device again.
    withdrawn boolean NOT NULL DEFAULT false,
    deadline_at timestamptz NOT NULL,
    assigned_at timestamptz NOT NULL,
    delivered_at timestamptz,
    applied_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (world_id, id),
    FOREIGN KEY (world_id, device_id) REFERENCES devices (world_id, id) ON DELETE CASCADE,
    FOREIGN KEY (world_id, firmware_release_id) REFERENCES firmware_releases (world_id, id),
    FOREIGN KEY (world_id, rollout_id) REFERENCES rollouts (world_id, id)
);
-- A device has at most one offer at a time.
CREATE UNIQUE INDEX ota_assignments_open ON ota_assignments (world_id, device_id) WHERE status IN ('pending', 'delivered');
CREATE INDEX ota_assignments_newest ON ota_assignments (world_id, device_id, assigned_at DESC, id DESC);
CREATE INDEX ota_assignments_of_rollout ON ota_assignments (world_id, rollout_id, status) INCLUDE (deadline_at)
    WHERE rollout_id IS NOT NULL;
CREATE INDEX ota_assignments_due ON ota_assignments (deadline_at) WHERE status IN ('pending', 'delivered');
"""


def upgrade() -> None:
    for block in (HEARTBEATS, COMMANDS, CONFIGURATION, FIRMWARE):
        script(block)
