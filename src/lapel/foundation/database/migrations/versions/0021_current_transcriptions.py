"""The current transcription of a recording is its newest completed one, if there is one."""

from lapel.foundation.database.migrations import in_batches

revision = "0021"
down_revision = "0020"

CURRENT = """
UPDATE recordings r SET transcription_id = t.id
FROM (
    SELECT DISTINCT ON (world_id, recording_id) world_id, recording_id, id FROM transcriptions
    WHERE world_id = $1 AND recording_id > $2 AND recording_id <= $3 AND status = 'completed'
    ORDER BY world_id, recording_id, created_at DESC, id DESC
) t
WHERE r.world_id = t.world_id AND r.id = t.recording_id AND r.transcription_id IS DISTINCT FROM t.id
"""


def upgrade() -> None:
    in_batches("recordings", CURRENT)
