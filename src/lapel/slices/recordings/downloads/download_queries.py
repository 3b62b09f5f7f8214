"""All SQL of links to media."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from lapel.foundation.database.rows import FoundRow, fetch_found
from lapel.slices.recordings.access import PRESENT
from lapel.slices.recordings.uploads.media_states import MediaStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.slices.recordings.access import Reach


class DownloadRow(FoundRow, frozen=True):
    """A media and the name of its recording. Size (bytes) and object are known if the media is uploaded."""

    object_key: str | None
    content_type: str | None
    file_size_bytes: int | None
    status: MediaStatus | None
    name: str | None


class AudioDownloadRow(DownloadRow, frozen=True):
    """The DownloadRow of a recording's audio. Without an audio, the first four fields are None."""

    id: str | None
    audio_erased_at: datetime | None


# The hottest statement: three look-ups by primary key for each row of the arrays $1 to $4. $4: the only end
# user that the caller may see; NULL: all. The sub-selects hide the lengths of the arrays from the planner,
# which would otherwise plan each execution anew.
FIND_DOWNLOADS = f"""
SELECT asked.place, m.object_key, m.content_type, m.file_size_bytes, m.status, r.name
FROM unnest((SELECT $1::bigint[]), (SELECT $2::text[]), (SELECT $3::text[]), (SELECT $4::text[]))
    WITH ORDINALITY AS asked (world_id, recording_id, media_id, end_user_id, place)
JOIN media m ON m.world_id = asked.world_id AND m.recording_id = asked.recording_id AND m.id = asked.media_id
JOIN recordings r ON r.world_id = asked.world_id AND r.id = asked.recording_id
WHERE (asked.end_user_id IS NULL OR r.end_user_id = asked.end_user_id) AND {PRESENT}
"""

# For a recording without an audio, the columns of the media are NULL. $1 to $3 as in FIND_DOWNLOADS.
FIND_AUDIO_DOWNLOADS = f"""
SELECT asked.place, m.object_key, m.content_type, m.file_size_bytes, m.status, r.name, m.id, r.audio_erased_at
FROM unnest((SELECT $1::bigint[]), (SELECT $2::text[]), (SELECT $3::text[]))
    WITH ORDINALITY AS asked (world_id, recording_id, end_user_id, place)
JOIN recordings r ON r.world_id = asked.world_id AND r.id = asked.recording_id
LEFT JOIN media m ON m.world_id = r.world_id AND m.recording_id = r.id AND m.type = 'audio'
WHERE (asked.end_user_id IS NULL OR r.end_user_id = asked.end_user_id) AND {PRESENT}
"""


async def find_downloads(
    connection: Connection, asked: Sequence[tuple[Reach, str]]
) -> list[DownloadRow | None]:
    """For each recording and media id: the media; None when the caller reaches no such media."""
    return await fetch_found(
        connection,
        DownloadRow,
        FIND_DOWNLOADS,
        len(asked),
        [at.world_id for at, _ in asked],
        [at.recording_id for at, _ in asked],
        [media_id for _, media_id in asked],
        [at.end_user_id for at, _ in asked],
    )


async def find_audio_downloads(
    connection: Connection, asked: Sequence[Reach]
) -> list[AudioDownloadRow | None]:
    """For each recording: its one audio. None when the caller reaches no such recording."""
    return await fetch_found(
        connection,
        AudioDownloadRow,
        FIND_AUDIO_DOWNLOADS,
        len(asked),
        [each.world_id for each in asked],
        [each.recording_id for each in asked],
        [each.end_user_id for each in asked],
    )
