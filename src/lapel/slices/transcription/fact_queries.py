"""All SQL of the facts about an audio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_row
from lapel.slices.transcription.audio.damage.damage_record import gaps_of
from lapel.slices.transcription.rows import AudioFactsRow

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.slices.transcription.audio.audio_facts import AudioFacts
    from lapel.slices.transcription.speech.failures import Code

# Facts of an older version have no warnings, and are replaced once. But their cuts stay, because a
# transcription may have results of these pieces.
PUT = """
INSERT INTO audio_facts (world_id, media_id, recording_id, duration_ms, channels, sample_rate, codec,
    container, mime_type, peaks, cuts, probed_at, warnings, gaps)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (world_id, media_id) DO UPDATE SET duration_ms = excluded.duration_ms,
    channels = excluded.channels, sample_rate = excluded.sample_rate, codec = excluded.codec,
    container = excluded.container, mime_type = excluded.mime_type, peaks = excluded.peaks,
    cuts = CASE WHEN audio_facts.error_code IS NULL THEN audio_facts.cuts ELSE excluded.cuts END,
    error_code = NULL, error_message = NULL, probed_at = excluded.probed_at,
    warnings = excluded.warnings, gaps = excluded.gaps
WHERE audio_facts.error_code IS NOT NULL OR audio_facts.warnings IS NULL
"""

PUT_FAULT = """
INSERT INTO audio_facts (world_id, media_id, recording_id, error_code, error_message, probed_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (world_id, media_id) DO NOTHING
"""

READ = """
SELECT duration_ms, peaks, cuts, error_code, error_message, warnings, gaps FROM audio_facts
WHERE world_id = $1 AND media_id = $2
"""


async def put(
    connection: Connection,
    world_id: int,
    recording_id: str,
    media_id: str,
    facts: AudioFacts,
    warnings: str,
    now: datetime,
) -> None:
    """Store the facts about an audio, with the warnings as JSON.

    They replace a stored fault, but not facts that are stored already with warnings.
    """
    cuts = [0, *(end for _, end in facts.pieces)]
    await connection.execute(
        PUT,
        world_id,
        media_id,
        recording_id,
        facts.duration_ms,
        facts.channels,
        facts.sample_rate,
        facts.codec,
        facts.container,
        facts.mime_type,
        facts.peaks,
        cuts,
        now,
        warnings,
        gaps_of(facts.damage, facts.duration_ms),
    )


async def put_fault(
    connection: Connection,
    world_id: int,
    recording_id: str,
    media_id: str,
    code: Code,
    message: str,
    now: datetime,
) -> None:
    """Store why an audio cannot be read, unless facts or a fault are stored already."""
    await connection.execute(PUT_FAULT, world_id, media_id, recording_id, code, message, now)


async def read(connection: Connection, world_id: int, media_id: str) -> AudioFactsRow | None:
    """The facts about an audio; None before the probe."""
    return await fetch_row(connection, AudioFactsRow, READ, world_id, media_id)
