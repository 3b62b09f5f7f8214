"""All SQL of links to media."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from lapel.foundation.database.asked_rows import asked_rows, parameters
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


# `end_user_id`: the only end user that the caller may see; NULL: all.
_ASKED = asked_rows(world_id="bigint", recording_id="text", media_id="text", end_user_id="text")
_ASKED_AUDIO = asked_rows(world_id="bigint", recording_id="text", end_user_id="text")

# The hottest statement: three look-ups by primary key for each question.
FIND_DOWNLOADS = f"""
SELECT asked.place, m.object_key, m.content_type, m.file_size_bytes, m.status, r.name
FROM {_ASKED.several}
JOIN media m ON m.world_id = asked.world_id AND m.recording_id = asked.recording_id AND m.id = asked.media_id
JOIN recordings r ON r.world_id = asked.world_id AND r.id = asked.recording_id
WHERE (asked.end_user_id IS NULL OR r.end_user_id = asked.end_user_id) AND {PRESENT}
"""
FIND_DOWNLOAD = _ASKED.alone(FIND_DOWNLOADS)

# For a recording without an audio, the columns of the media are NULL.
FIND_AUDIO_DOWNLOADS = f"""
SELECT asked.place, m.object_key, m.content_type, m.file_size_bytes, m.status, r.name, m.id, r.audio_erased_at
FROM {_ASKED_AUDIO.several}
JOIN recordings r ON r.world_id = asked.world_id AND r.id = asked.recording_id
LEFT JOIN media m ON m.world_id = r.world_id AND m.recording_id = r.id AND m.type = 'audio'
WHERE (asked.end_user_id IS NULL OR r.end_user_id = asked.end_user_id) AND {PRESENT}
"""
FIND_AUDIO_DOWNLOAD = _ASKED_AUDIO.alone(FIND_AUDIO_DOWNLOADS)


async def find_downloads(
    connection: Connection, asked: Sequence[tuple[Reach, str]]
) -> list[DownloadRow | None]:
    """For each recording and media id: the media; None when the caller reaches no such media."""
    return await fetch_found(
        connection,
        DownloadRow,
        FIND_DOWNLOAD if len(asked) == 1 else FIND_DOWNLOADS,
        len(asked),
        *parameters([(at.world_id, at.recording_id, media_id, at.end_user_id) for at, media_id in asked]),
    )


async def find_audio_downloads(
    connection: Connection, asked: Sequence[Reach]
) -> list[AudioDownloadRow | None]:
    """For each recording: its one audio. None when the caller reaches no such recording."""
    return await fetch_found(
        connection,
        AudioDownloadRow,
        FIND_AUDIO_DOWNLOAD if len(asked) == 1 else FIND_AUDIO_DOWNLOADS,
        len(asked),
        *parameters([(each.world_id, each.recording_id, each.end_user_id) for each in asked]),
    )
