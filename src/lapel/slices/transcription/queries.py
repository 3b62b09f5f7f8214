"""All SQL of transcriptions but their lists (reading/transcription_list_queries.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import (
    fetch_only_value,
    fetch_row,
    fetch_value,
    fetch_values,
)
from lapel.slices.projects.service import project_of
from lapel.slices.recordings.service import end_user_of_recording, seen_recording
from lapel.slices.transcription.rows import (
    ChangedTranscriptionRow,
    TranscriptionRow,
    TranscriptRow,
)

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.slices.providers.service import SpeechSlot
    from lapel.slices.transcription.payloads import Stage
    from lapel.slices.transcription.speech.failures import Code
    from lapel.slices.transcription.speech.transcript import Origin, Transcript
    from lapel.slices.transcription.wire import TranscribeRecording

# $1: the world, in every statement.
COLUMNS = f"""
t.id, t.recording_id, t.status, t.progress, t.provider, t.language_asked, t.languages_asked, t.diarization,
t.num_speakers,
t.language, t.model, t.duration_ms, t.full_text, t.word_count, t.confidence, t.error_code, t.error_message,
t.started_at, t.completed_at, t.created_at, t.updated_at,
{project_of("$1")} AS project_id, t.warnings
"""
INSERT = """
INSERT INTO transcriptions (world_id, id, recording_id, media_id, origin, status, provider, language_asked,
    languages_asked, diarization, num_speakers, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, 'pending', $6, $7, $8, $9, $10, $11, $11)
ON CONFLICT (world_id, media_id) WHERE origin = 'auto' DO NOTHING
RETURNING id
"""

# Index: transcriptions_of_recording.
FIND_RUNNING = """
SELECT t.id FROM transcriptions t
WHERE t.world_id = $1 AND t.recording_id = $2 AND t.status IN ('pending', 'processing') AND t.created_at > $3
ORDER BY t.created_at DESC, t.id DESC LIMIT 1
"""

# The newest completed transcription; if none is completed, the newest. Index: transcriptions_of_recording.
FIND_CURRENT = """
SELECT t.id FROM transcriptions t WHERE t.world_id = $1 AND t.recording_id = $2
ORDER BY t.status = 'completed' DESC, t.created_at DESC, t.id DESC LIMIT 1
"""

# Segments without words. Rows from before migration 0020 have them only with words.
PLAIN_SEGMENTS = """CASE WHEN t.segments IS NULL THEN NULL ELSE coalesce(t.segments_plain, convert_to((
    SELECT coalesce(json_agg(segment - 'words' ORDER BY place), '[]')
    FROM jsonb_array_elements(convert_from(t.segments, 'UTF8')::jsonb) WITH ORDINALITY AS s (segment, place)
)::text, 'UTF8')) END"""

READ = f"""
SELECT {COLUMNS}, CASE WHEN $4 THEN t.segments ELSE {PLAIN_SEGMENTS} END AS segments
FROM transcriptions t
WHERE t.world_id = $1 AND t.id = $2 AND {seen_recording("t", "$3")}
"""

READ_FACTS = f"""
SELECT {COLUMNS} FROM transcriptions t WHERE t.world_id = $1 AND t.id = $2 AND {seen_recording("t", "$3")}
"""

# An answer has the text twice.
SIZE = """
SELECT 2 * coalesce(octet_length(full_text), 0) + coalesce(octet_length(segments), 0)
FROM transcriptions WHERE world_id = $1 AND id = $2
"""

BEGIN = f"""
WITH begun AS (
    UPDATE transcriptions t SET status = 'processing', started_at = $3, updated_at = $3
    WHERE t.world_id = $1 AND t.id = $2 AND t.status = 'pending' RETURNING t.*
)
SELECT {COLUMNS}, {end_user_of_recording("t")} AS end_user_id FROM begun t
"""

# Progress never falls, even if a step is done again.
SET_PROGRESS = """
UPDATE transcriptions SET progress = $3
WHERE world_id = $1 AND id = $2 AND status = 'processing' AND progress < $3
"""

SET_LANGUAGE = """
UPDATE transcriptions SET language = $3, language_probability = $4, model = $5
WHERE world_id = $1 AND id = $2 AND status = 'processing'
"""

COMPLETE = f"""
WITH done AS (
    UPDATE transcriptions t SET status = 'completed', progress = 1, language = $3, language_probability = $4,
        model = $5, duration_ms = $6, full_text = $7, segments = $8, segments_plain = $9, word_count = $10,
        confidence = $11, completed_at = $12, updated_at = $12, warnings = $13
    WHERE t.world_id = $1 AND t.id = $2 AND t.status = 'processing' RETURNING t.*
)
SELECT {COLUMNS}, {end_user_of_recording("t")} AS end_user_id FROM done t
"""

FAIL = f"""
WITH failed AS (
    UPDATE transcriptions t SET status = 'failed', error_code = $3, error_message = $4, completed_at = $5,
        updated_at = $5
    WHERE t.world_id = $1 AND t.id = $2 AND t.status IN ('pending', 'processing') RETURNING t.*
)
SELECT {COLUMNS}, {end_user_of_recording("t")} AS end_user_id FROM failed t
"""

PUT_PIECE = """
INSERT INTO transcription_pieces (world_id, transcription_id, stage, piece, result)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (world_id, transcription_id, stage, piece) DO UPDATE SET result = excluded.result
"""

READ_PIECES = """
SELECT result FROM transcription_pieces
WHERE world_id = $1 AND transcription_id = $2 AND stage = $3 ORDER BY piece
"""

READ_PIECE = """
SELECT result FROM transcription_pieces
WHERE world_id = $1 AND transcription_id = $2 AND stage = $3 AND piece = $4
"""

COUNT_PIECES = """
SELECT count(*) FROM transcription_pieces WHERE world_id = $1 AND transcription_id = $2 AND stage = $3
"""

DELETE_PIECES = "DELETE FROM transcription_pieces WHERE world_id = $1 AND transcription_id = $2"

# The lock waits for transactions that are writing an event of these rows. So the erasure that follows sees
# these events too.
LOCK_OF_RECORDINGS = """
SELECT id FROM transcriptions WHERE world_id = $1 AND recording_id = ANY($2::text[]) FOR UPDATE
"""


async def insert(
    connection: Connection,
    world_id: int,
    transcription_id: str,
    audio: tuple[str, str],
    now: datetime,
    *,
    origin: Origin,
    provider: SpeechSlot,
    wish: TranscribeRecording,
) -> bool:
    """Insert a transcription. Returns False if `origin` is "auto" and the audio already has an automatic
    transcription.

    `audio`: ids of recording and media.
    """
    wanted = (wish.language, wish.languages, wish.diarization, wish.num_speakers)
    inserted = await fetch_value(
        connection, str, INSERT, world_id, transcription_id, *audio, origin, provider, *wanted, now
    )
    return inserted is not None


async def find_running(
    connection: Connection, world_id: int, recording_id: str, since: datetime
) -> str | None:
    """Id of the recording's newest transcription that has not ended and was created after `since`."""
    return await fetch_value(connection, str, FIND_RUNNING, world_id, recording_id, since)


async def find_current(connection: Connection, world_id: int, recording_id: str) -> str | None:
    """Id of the recording's newest completed transcription, else of its newest transcription."""
    return await fetch_value(connection, str, FIND_CURRENT, world_id, recording_id)


async def read(
    connection: Connection,
    world_id: int,
    transcription_id: str,
    end_user_id: str | None,
    *,
    with_words: bool = False,
) -> TranscriptRow | None:
    """A transcription with its segments; None if the caller may not see it."""
    return await fetch_row(
        connection, TranscriptRow, READ, world_id, transcription_id, end_user_id, with_words
    )


async def read_facts(
    connection: Connection, world_id: int, transcription_id: str, end_user_id: str | None
) -> TranscriptionRow | None:
    """A transcription without its segments; None if the caller may not see it."""
    return await fetch_row(connection, TranscriptionRow, READ_FACTS, world_id, transcription_id, end_user_id)


async def size(connection: Connection, world_id: int, transcription_id: str) -> int | None:
    """Bytes of a transcription's texts and segments in an answer; None if there is no such transcription."""
    return await fetch_value(connection, int, SIZE, world_id, transcription_id)


async def begin(
    connection: Connection, world_id: int, transcription_id: str, now: datetime
) -> ChangedTranscriptionRow | None:
    """Set a pending transcription to processing; None if it is not pending."""
    return await fetch_row(connection, ChangedTranscriptionRow, BEGIN, world_id, transcription_id, now)


async def set_progress(connection: Connection, world_id: int, transcription_id: str, progress: float) -> None:
    """Store the progress, 0 to 1, if it is more than before."""
    await connection.execute(SET_PROGRESS, world_id, transcription_id, progress)


async def set_language(
    connection: Connection,
    world_id: int,
    transcription_id: str,
    language: str | None,
    probability: float | None,
    model: str,
) -> None:
    """Store the language and model that the first piece with speech reported."""
    await connection.execute(SET_LANGUAGE, world_id, transcription_id, language, probability, model)


async def complete(
    connection: Connection,
    world_id: int,
    transcription_id: str,
    transcript: Transcript,
    segments: tuple[bytes, bytes],
    now: datetime,
) -> ChangedTranscriptionRow | None:
    """Complete a transcription; None unless it was processing. `segments`: JSON with words, and without."""
    return await fetch_row(
        connection,
        ChangedTranscriptionRow,
        COMPLETE,
        world_id,
        transcription_id,
        transcript.language,
        transcript.language_probability,
        transcript.model,
        transcript.duration_ms,
        transcript.full_text,
        *segments,
        transcript.word_count,
        transcript.confidence,
        now,
        msgspec.json.encode(transcript.warnings).decode(),
    )


async def fail(
    connection: Connection, world_id: int, transcription_id: str, code: Code, message: str, now: datetime
) -> ChangedTranscriptionRow | None:
    """Set a transcription to failed; None if it has ended already."""
    return await fetch_row(
        connection, ChangedTranscriptionRow, FAIL, world_id, transcription_id, code, message, now
    )


async def put_piece(
    connection: Connection, world_id: int, transcription_id: str, stage: Stage, piece: int, result: bytes
) -> None:
    """Store the result of a step until the last step has ended."""
    await connection.execute(PUT_PIECE, world_id, transcription_id, stage, piece, result)


async def read_pieces(
    connection: Connection, world_id: int, transcription_id: str, stage: Stage
) -> list[bytes]:
    """The results of all steps of a stage, in order."""
    return await fetch_values(connection, bytes, READ_PIECES, world_id, transcription_id, stage)


async def read_piece(
    connection: Connection, world_id: int, transcription_id: str, stage: Stage, piece: int
) -> bytes | None:
    """The result of one step; None when there is none."""
    return await fetch_value(connection, bytes, READ_PIECE, world_id, transcription_id, stage, piece)


async def count_pieces(connection: Connection, world_id: int, transcription_id: str, stage: Stage) -> int:
    """How many steps of a stage have a stored result."""
    return await fetch_only_value(connection, int, COUNT_PIECES, world_id, transcription_id, stage)


async def delete_pieces(connection: Connection, world_id: int, transcription_id: str) -> None:
    """Delete the results of all steps of a transcription."""
    await connection.execute(DELETE_PIECES, world_id, transcription_id)


async def lock_of_recordings(connection: Connection, world_id: int, recording_ids: list[str]) -> list[str]:
    """The ids of all transcriptions of these recordings. The rows are locked until the transaction ends."""
    return await fetch_values(connection, str, LOCK_OF_RECORDINGS, world_id, recording_ids)
