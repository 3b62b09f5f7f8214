"""The causes of deletions in the erasure ledger, and the table of legal holds."""

from lapel.foundation.database.migrations import build_index, in_batches, script

revision = "0026"
down_revision = "0025"

# Servers of the previous version write entries without these columns meanwhile.
CAUSES = """
ALTER TABLE erasures
    ADD COLUMN IF NOT EXISTS reason text NOT NULL DEFAULT 'request',
    -- The kind and id of the caller; NULL: written by a version that did not store the caller.
    ADD COLUMN IF NOT EXISTS requested_by_kind text,
    ADD COLUMN IF NOT EXISTS requested_by_id text COLLATE "C";
ALTER TABLE erasures DROP CONSTRAINT IF EXISTS erasures_reason_check;
ALTER TABLE erasures ADD CONSTRAINT erasures_reason_check
    CHECK (reason IN ('request', 'end_user_deleted', 'retention', 'reconcile')) NOT VALID;
"""

WITH_END_USERS = """
UPDATE erasures SET reason = 'end_user_deleted'
WHERE world_id = $1 AND id > $2 AND id <= $3 AND resource_type = 'recording' AND end_user_id IS NOT NULL
"""

# Ids of recordings and of end users differ in their prefix, so an id alone names the resource.
HOLDS = """
CREATE TABLE IF NOT EXISTS holds (
    world_id bigint NOT NULL REFERENCES worlds (id),
    id text COLLATE "C" NOT NULL,
    resource_type text NOT NULL CHECK (resource_type IN ('recording', 'end_user')),
    resource_id text COLLATE "C" NOT NULL,
    -- NULL after the resource is erased: the text may be about a person.
    reason text,
    placed_by_kind text NOT NULL,
    placed_by_id text COLLATE "C",
    created_at timestamptz NOT NULL,
    released_by_kind text,
    released_by_id text COLLATE "C",
    released_at timestamptz,
    -- When everything that this hold postponed was erased, or is kept by another hold.
    settled_at timestamptz,
    PRIMARY KEY (world_id, id)
);
CREATE UNIQUE INDEX IF NOT EXISTS holds_active ON holds (world_id, resource_id) WHERE released_at IS NULL;
CREATE INDEX IF NOT EXISTS holds_of_resource ON holds (world_id, resource_id, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS holds_newest ON holds (world_id, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS holds_unsettled ON holds (released_at)
    WHERE released_at IS NOT NULL AND settled_at IS NULL;
"""


def upgrade() -> None:
    script(CAUSES)
    script(HOLDS)
    in_batches("erasures", WITH_END_USERS)
    script("ALTER TABLE erasures VALIDATE CONSTRAINT erasures_reason_check")
    build_index("erasures_by_state", "erasures (world_id, state, created_at DESC, id DESC)")
