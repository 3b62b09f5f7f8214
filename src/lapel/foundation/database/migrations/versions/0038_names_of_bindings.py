"""A name that a device got in a binding ends with the binding; the audit entries of an end user are in order."""

from lapel.foundation.database.migrations import build_index, in_batches, script

revision = "0038"
down_revision = "0037"

NAMES = """
UPDATE devices SET name = NULL, named_for = NULL
WHERE world_id = $1 AND id > $2 AND id <= $3
  AND named_for IS NOT NULL AND named_for IS DISTINCT FROM end_user_id
"""


def upgrade() -> None:
    in_batches("devices", NAMES)
    script("DROP INDEX IF EXISTS devices_named_for")
    build_index(
        "audit_details_of_end_user",
        "audit_details (world_id, end_user_id, entry_id) WHERE end_user_id IS NOT NULL",
    )
