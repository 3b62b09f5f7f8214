"""Transcripts that were said, written straight into the database, and what is found in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx

from lapel import app
from lapel.foundation.ports import Ports
from lapel.foundation.slices import Services
from lapel.slices.search.indexing.vector_work import VectorWork
from lapel.slices.search.payloads import EmbedTranscript
from lapel.slices.search.service import Search, TranscriptIndex
from lapel.slices.transcription.service import Segment
from lapel.slices.transcription.speech.transcript import Transcript
from lapel.slices.transcription.views import stored_segments
from tests.support.tenants import Tenant, bearer

WHEN = datetime(2026, 3, 1, 9, tzinfo=UTC)
RECORDING = """
INSERT INTO recordings (world_id, id, end_user_id, status, source, consent_obtained, recorded_at, created_at,
    updated_at)
VALUES ($1, $2, $3, 'uploaded', 'device', true, $4, $4, $4)
"""
MEDIA = """
INSERT INTO media (world_id, id, recording_id, type, status, content_type, file_size_bytes, object_key,
    created_at, last_url_expires_at, reconcile_at)
VALUES ($1, $2, $3, 'audio', 'uploaded', 'audio/opus', 1, 'media/' || $2, $4, $4, 'infinity')
"""
TRANSCRIPTION = """
INSERT INTO transcriptions (world_id, id, recording_id, media_id, origin, status, provider, diarization,
    language, full_text, segments, segments_plain, created_at, updated_at)
VALUES ($1, $2, $3, $4, 'request', 'completed', 'whisper', true, $5, $6, $7, $8, $9, $9)
"""
CURRENT = "UPDATE recordings SET transcription_id = $3 WHERE world_id = $1 AND id = $2"


def segments_of(texts: Sequence[str | tuple[str, str]], seconds: float = 5.0) -> list[Segment]:
    """Segments one after the other; each is a text, or a speaker and a text."""
    made: list[Segment] = []
    for place, each in enumerate(texts):
        speaker, text = each if isinstance(each, tuple) else ("SPEAKER_0", each)
        start = place * seconds
        made.append(Segment(start=start, end=start + seconds, text=text, confidence=1, speaker=speaker))
    return made


class Library:
    """The transcripts of one world, and the services that index them."""

    def __init__(self, ports: Ports, tenant: Tenant) -> None:
        self.ports = ports
        self.tenant = tenant
        self.world_id = tenant.test_world
        self.services: Services = app.open_services(ports)
        self.index = self.services[TranscriptIndex]

    async def end_user(self) -> str:
        """A new end user's id."""
        made = self.ports.ids.new("eu")
        await self.execute(
            "INSERT INTO end_users (world_id, id, created_at, updated_at) VALUES ($1, $2, now(), now())",
            self.world_id,
            made,
        )
        return made

    async def said(
        self,
        end_user_id: str,
        segments: Sequence[Segment],
        *,
        language: str | None = "en",
        recorded_at: datetime | None = WHEN,
        is_indexed: bool = True,
    ) -> str:
        """A recording with a completed transcript; its id."""
        recording_id = self.ports.ids.new("rec")
        await self.execute(RECORDING, self.world_id, recording_id, end_user_id, recorded_at or WHEN)
        if recorded_at is None:
            await self.execute(
                "UPDATE recordings SET recorded_at = NULL WHERE world_id = $1 AND id = $2",
                self.world_id,
                recording_id,
            )
        await self.execute(MEDIA, self.world_id, recording_id.replace("rec", "med"), recording_id, WHEN)
        await self.transcribed(recording_id, segments, language=language, is_indexed=is_indexed)
        return recording_id

    async def transcribed(
        self,
        recording_id: str,
        segments: Sequence[Segment],
        *,
        language: str | None = "en",
        is_current: bool = True,
        is_indexed: bool = True,
    ) -> str:
        """A completed transcription of a recording, by default its current one; its id."""
        made = self.ports.ids.new("txn")
        full_text = " ".join(each.text for each in segments)
        stored = stored_segments(list(segments))
        async with self.ports.database.transaction() as connection:
            await connection.execute(
                TRANSCRIPTION,
                self.world_id,
                made,
                recording_id,
                recording_id.replace("rec", "med"),
                language,
                full_text,
                *stored,
                self.ports.clock.now(),
            )
            if is_current:
                await connection.execute(CURRENT, self.world_id, recording_id, made)
            if is_indexed:
                await self.index.replace(connection, self.world_id, recording_id, made)
        return made

    async def embed(self) -> None:
        """Compute every vector that is due."""
        await self.services[VectorWork].work(EmbedTranscript(0, ""))

    async def execute(self, sql: str, *arguments: object) -> None:
        """Run a statement."""
        async with self.ports.database.acquire() as connection:
            await connection.execute(sql, *arguments)

    async def count(self, table: str, recording_id: str) -> int:
        """The rows of a recording in a table."""
        async with self.ports.database.acquire() as connection:
            return await connection.fetchval(
                f"SELECT count(*) FROM {table} WHERE world_id = $1 AND recording_id = $2",
                self.world_id,
                recording_id,
            )


def transcript_of(segments: Sequence[Segment], language: str | None = "en") -> Transcript:
    """What a provider would have given."""
    return Transcript(
        segments=list(segments), language=language, language_probability=1.0, model="m", duration_ms=10_000
    )


async def search(
    client: httpx.AsyncClient, token: str, query: str, expect: int = 200, **body: Any
) -> list[dict[str, Any]]:
    """The results of a search over HTTP, or the error as the only one."""
    answer = await client.post("/v1/recordings/search", json={"query": query, **body}, headers=bearer(token))
    assert answer.status_code == expect, answer.text
    return answer.json()["results"] if expect == 200 else [answer.json()["error"]]


async def by_words(library: Library, end_user: str, query: str, **filters: object) -> list[tuple[str, str]]:
    """Recording and text of each result, in a process without the model."""
    made = Search(library.ports, Away())  # type: ignore[arg-type]
    found = await made.search(library.world_id, end_user, query, **filters)  # type: ignore[arg-type]
    return [(each.recording_id, each.chunk_text) for each in found]


class Away:
    """The embedding model of an installation without its weights."""

    model = None

    async def query(self, _text: str) -> None:
        """No vector."""
