"""The database rows that work on an audio leaves behind, written without doing the work."""

from __future__ import annotations

from lapel.foundation.ports import Ports
from lapel.slices.transcription import fact_queries
from lapel.slices.transcription.audio.audio_facts import AudioFacts
from lapel.slices.transcription.speech.transcript import Segment, Transcript, Word
from lapel.slices.transcription.views import stored_segments
from lapel.slices.transcription.work import lifecycle, work_queries

TRANSCRIPT = Transcript(
    segments=[
        Segment(
            start=0.5,
            end=2.0,
            text="Good morning, everybody.",
            confidence=0.9,
            speaker="SPEAKER_0",
            words=[
                Word(start=0.5, end=0.8, word="Good", confidence=0.9),
                Word(start=0.8, end=1.2, word="morning,", confidence=0.9),
                Word(start=1.3, end=2.0, word="everybody.", confidence=0.9),
            ],
        ),
        Segment(start=2.5, end=3.0, text="Hello.", confidence=0.8, speaker="SPEAKER_1"),
    ],
    language="en",
    language_probability=0.99,
    model="whisper-base",
    duration_ms=4000,
)
FACTS = AudioFacts(
    duration_ms=4000,
    channels=1,
    sample_rate=16_000,
    codec="opus",
    container="ogg",
    mime_type="audio/ogg",
    peaks=bytes(range(256)),
    pieces=[(0, 4000)],
)


async def complete_transcription(
    ports: Ports, world_id: int, transcription_id: str, transcript: Transcript = TRANSCRIPT
) -> None:
    """Marks the transcription as completed, with this transcript."""
    async with ports.database.transaction() as connection:
        await lifecycle.start(connection, ports, world_id, transcription_id)
        segments = stored_segments(transcript.segments)
        await lifecycle.complete(connection, ports, world_id, transcription_id, transcript, segments)
        await work_queries.delete(connection, world_id, transcription_id)


async def look_at_audio(ports: Ports, world_id: int, recording_id: str, media_id: str) -> None:
    """Marks the audio as probed, with FACTS as the result."""
    async with ports.database.transaction() as connection:
        await fact_queries.put(connection, world_id, recording_id, media_id, FACTS, "[]", ports.clock.now())
