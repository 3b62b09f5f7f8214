"""Webhooks, the deliveries of events to them, and the attempts of each delivery."""

from lapel.foundation.database.migrations import script

revision = "0028"
down_revision = "0027"

# `failures` counts the attempts that failed since the last success, and `failing_since` is the time of the
# first of them. While `paused_until` is in the future, a worker sends nothing to the webhook; then it sends
# one delivery, and the others only when that one succeeds. A webhook with `deleted_at` is disabled and shown
# nowhere; a job deletes its deliveries in batches, and then its row.
WEBHOOKS = """
CREATE TABLE webhooks (
    world_id bigint NOT NULL REFERENCES worlds (id),
    id text COLLATE "C" NOT NULL,
    url text NOT NULL,
    events text[] COLLATE "C" NOT NULL,
    description text,
    metadata text NOT NULL DEFAULT '{}',
    status text COLLATE "C" NOT NULL CHECK (status IN ('enabled', 'disabled')),
    disabled_reason text COLLATE "C" CHECK (disabled_reason IN ('request', 'gone', 'failing')),
    sealed_secret bytea NOT NULL,
    sealed_previous_secret bytea,
    previous_secret_until timestamptz,
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    paused_until timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    PRIMARY KEY (world_id, id)
);
CREATE INDEX webhooks_by_age ON webhooks (world_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;

-- One row for each event and webhook. `attempts` counts all attempts; `tries` counts those of the present
-- schedule, which a redelivery starts again. `due_at` is the time of the next attempt. `leased_until`: until
-- then a worker makes an attempt.
CREATE TABLE webhook_deliveries (
    world_id bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    webhook_id text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('pending', 'succeeded', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    tries integer NOT NULL DEFAULT 0,
    due_at timestamptz,
    leased_until timestamptz,
    created_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (world_id, id),
    UNIQUE (world_id, event_id, webhook_id),
    FOREIGN KEY (world_id, webhook_id) REFERENCES webhooks (world_id, id) ON DELETE CASCADE,
    FOREIGN KEY (world_id, event_id) REFERENCES events (world_id, id) ON DELETE CASCADE
);
-- Lists of one state read this index in its order, and lists of all states merge three parts of it.
CREATE INDEX webhook_deliveries_by_age
    ON webhook_deliveries (world_id, webhook_id, state, created_at DESC, id DESC);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (world_id, webhook_id, due_at)
    WHERE state = 'pending';
-- The deliveries of one resource that were never attempted: a later one waits for an earlier one.
CREATE INDEX webhook_deliveries_first ON webhook_deliveries (world_id, webhook_id, resource_id, position)
    WHERE state = 'pending' AND attempts = 0;

-- `status` is the answer's, NULL without an answer; `error` then says why. `answer`: the first 4 KiB of the
-- answer's body.
CREATE TABLE webhook_attempts (
    world_id bigint NOT NULL,
    delivery_id text COLLATE "C" NOT NULL,
    number integer NOT NULL,
    started_at timestamptz NOT NULL,
    latency_ms integer NOT NULL,
    status smallint,
    error text,
    answer bytea,
    PRIMARY KEY (world_id, delivery_id, number),
    FOREIGN KEY (world_id, delivery_id) REFERENCES webhook_deliveries (world_id, id) ON DELETE CASCADE
);
"""


def upgrade() -> None:
    script(WEBHOOKS)
