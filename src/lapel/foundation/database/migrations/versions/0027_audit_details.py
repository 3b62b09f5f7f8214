"""The audit log will admit only new entries: values and addresses are apart, and entries are chained.

`env.py` revokes the rights to change them. The revision is one transaction, because an entry's values move to another table and leave their column. The
log has only changes of configurations and providers until now, so there are few entries.
"""

from lapel.foundation.database.migrations import script

revision = "0027"
down_revision = "0026"

# These tables refer neither to the log nor, with each entry again, to its world: the check of a foreign key locks
# the row that is referred to, which needs the right to change it.
TABLES = """
-- The part of an entry that may be personal, and that can be erased: the entry keeps a hash of it. `details`
-- is the JSON text that was hashed, behind the salt. `end_user_id`: the end user that it tells of.
CREATE TABLE audit_details (
    world_id bigint NOT NULL,
    entry_id text COLLATE "C" NOT NULL,
    end_user_id text COLLATE "C",
    salt bytea NOT NULL,
    details text NOT NULL,
    PRIMARY KEY (world_id, entry_id)
);
CREATE INDEX audit_details_of_end_user ON audit_details (world_id, end_user_id)
    WHERE end_user_id IS NOT NULL;

-- Entries that are not in the chain yet.
CREATE TABLE audit_unchained (
    world_id bigint NOT NULL,
    entry_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (world_id, entry_id)
);

-- The chain of a world: `hash` is SHA-256 of the previous hash and of the entry.
CREATE TABLE audit_chain (
    world_id bigint NOT NULL,
    number bigint NOT NULL,
    entry_id text COLLATE "C" NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (world_id, number)
);
CREATE UNIQUE INDEX audit_chain_of_entry ON audit_chain (world_id, entry_id);

-- Signed statements of how far a chain had come: `token` is a JWT. They are chained, too.
CREATE TABLE audit_checkpoints (
    world_id bigint NOT NULL REFERENCES worlds (id),
    position bigint NOT NULL,
    number bigint NOT NULL,
    created_at timestamptz NOT NULL,
    token text NOT NULL,
    PRIMARY KEY (world_id, position)
);

ALTER TABLE audit_log ADD COLUMN details_hash bytea;
"""

# The salts are 16 bytes, 122 bits of them random.
VALUES = """
INSERT INTO audit_details (world_id, entry_id, end_user_id, salt, details)
SELECT world_id, id, CASE WHEN resource_type = 'end_user' THEN resource_id END, uuid_send(gen_random_uuid()),
    '{"before":' || coalesce(before::text, 'null') || ',"after":' || coalesce(after::text, 'null')
    || ',"address":null}'
FROM audit_log;
UPDATE audit_log a SET details_hash = sha256(d.salt || convert_to(d.details, 'UTF8'))
FROM audit_details d WHERE d.world_id = a.world_id AND d.entry_id = a.id;
INSERT INTO audit_unchained (world_id, entry_id) SELECT world_id, id FROM audit_log;
ALTER TABLE audit_log ALTER COLUMN details_hash SET NOT NULL, DROP COLUMN before, DROP COLUMN after;
"""

INDEXES = """
CREATE INDEX audit_log_of_actor
    ON audit_log (world_id, coalesce(actor_id, actor_kind), created_at DESC, id DESC);
CREATE INDEX audit_log_of_action ON audit_log (world_id, action, created_at DESC, id DESC);
"""


def upgrade() -> None:
    for step in (TABLES, VALUES, INDEXES):
        script(step)
