"""The end user of events of recordings and transcriptions, so that they are hidden and erased with the end
user. `recording.deleted` names none: it has only an id and times."""

from lapel.foundation.database.migrations import in_batches

revision = "0032"
down_revision = "0031"

OF_RECORDINGS = """
UPDATE events v SET end_user_id = r.end_user_id FROM recordings r
WHERE v.world_id = $1 AND v.id > $2 AND v.id <= $3 AND v.end_user_id IS NULL AND v.test_for IS NULL
  AND v.type IN ('recording.created', 'recording.uploaded', 'recording.failed')
  AND r.world_id = v.world_id AND r.id = v.resource_id
"""

OF_TRANSCRIPTIONS = """
UPDATE events v SET end_user_id = r.end_user_id FROM transcriptions t, recordings r
WHERE v.world_id = $1 AND v.id > $2 AND v.id <= $3 AND v.end_user_id IS NULL AND v.test_for IS NULL
  AND v.type LIKE 'transcription.%'
  AND t.world_id = v.world_id AND t.id = v.resource_id
  AND r.world_id = t.world_id AND r.id = t.recording_id
"""


def upgrade() -> None:
    in_batches("events", OF_RECORDINGS)
    in_batches("events", OF_TRANSCRIPTIONS)
