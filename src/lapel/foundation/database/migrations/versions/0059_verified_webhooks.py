"""A webhook is verified by its first delivery, knows the key that made it, and shows its newest recovery."""

from lapel.foundation.database.migrations import in_batches, script

revision = "0059"
down_revision = "0058"
serves_older = True

COLUMNS = """
ALTER TABLE webhooks
    -- When the receiver at the present URL first answered 2xx. Until then the webhook gets one attempt at a time.
    ADD COLUMN IF NOT EXISTS verified_at timestamptz,
    -- The key that registered the webhook, gave it its URL or enabled it, whichever came last.
    ADD COLUMN IF NOT EXISTS issued_by text COLLATE "C",
    -- The newest recovery: its range of time, how it stands, and the deliveries that it made due.
    ADD COLUMN IF NOT EXISTS recovery_since timestamptz,
    ADD COLUMN IF NOT EXISTS recovery_until timestamptz,
    ADD COLUMN IF NOT EXISTS recovery_state text COLLATE "C"
        CONSTRAINT webhooks_recovery_state_check CHECK (recovery_state IN ('processing', 'completed', 'stopped')),
    ADD COLUMN IF NOT EXISTS recovery_queued integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS recovery_brought_forward integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS recovery_ended_at timestamptz;
-- Why a delivery failed without an attempt.
ALTER TABLE webhook_deliveries
    ADD COLUMN IF NOT EXISTS failure text COLLATE "C",
    DROP CONSTRAINT IF EXISTS webhook_deliveries_failure_check,
    ADD CONSTRAINT webhook_deliveries_failure_check CHECK (failure = ANY (ARRAY['too_many_pending'])) NOT VALID;
"""
# Webhooks of earlier versions get events already.
VERIFY = """
UPDATE webhooks SET verified_at = created_at
WHERE world_id = $1 AND id > $2 AND id <= $3 AND verified_at IS NULL
"""


def upgrade() -> None:
    script(COLUMNS)
    in_batches("webhooks", VERIFY)
    script("ALTER TABLE webhook_deliveries VALIDATE CONSTRAINT webhook_deliveries_failure_check")
