"""Work rows for audio that was uploaded before probes existed.

This revision enqueues no jobs: `speech.sweep` enqueues one for each row without a job, a hundred at a time.
"""

from lapel.foundation.database.migrations import script

revision = "0008"
down_revision = "0007"

# `infinity` puts each row last in its world, so audio that is uploaded later does not wait for it. ORDER BY
# makes PostgreSQL find all rows before it writes the first; without it, each look-up in `speech_work` would
# also search the rows just written.
PROBES = """
INSERT INTO speech_work (world_id, id, recording_id, media_id, lane, stage, available_at, created_at)
SELECT m.world_id, m.id, m.recording_id, m.id, 'decode', 'probe', clock_timestamp(), 'infinity'
FROM media m
WHERE m.type = 'audio' AND m.status = 'uploaded'
    AND NOT EXISTS (SELECT FROM audio_facts f WHERE f.world_id = m.world_id AND f.media_id = m.id)
    AND NOT EXISTS (SELECT FROM speech_work s WHERE s.world_id = m.world_id AND s.media_id = m.id)
ORDER BY m.world_id, m.id
ON CONFLICT (world_id, id) DO NOTHING;
"""


def upgrade() -> None:
    script(PROBES)
