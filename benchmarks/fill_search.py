"""A database with many chunks and vectors, made of the words and vectors of the shipped conversations.

A vector is a mixture of two vectors of real passages, with noise that has the covariance of real passages.
Noise of the same length in all directions would make vectors that are harder to tell apart than real ones:
of the nearest of a question, a walk along the index missed more. The words of a chunk are drawn as often as
the conversations say them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import asyncpg
import numpy as np
from numpy.typing import NDArray

from lapel.evaluation.conversations import conversations
from lapel.foundation.workers.cores import cores
from lapel.slices.embeddings.service import DIMENSIONS, Embeddings
from lapel.slices.search.passages.chunking import Chunk, chunks_of
from lapel.slices.search.service import sentences_of
from lapel.slices.transcription.service import Segment

PARTITIONS = 8
OF_A_RECORDING = 20
_WORDS = 75
_AT_ONCE = 10_000
_PASSAGES = 189  # real ones, which are embedded first: every second one
# With this share of the real differences, the nearest neighbours of vectors are about as near as those of
# real passages.
_NOISE = 0.7
_STAGING = """
CREATE TEMPORARY TABLE made (chunk_id text, recording_id text, end_user_id text, place int, chunk_text text,
    meaning halfvec(384))
"""
_END_USERS = """
INSERT INTO end_users (world_id, id, created_at, updated_at)
SELECT DISTINCT $1::bigint, end_user_id, now(), now() FROM made
ON CONFLICT DO NOTHING
"""
_RECORDINGS = """
INSERT INTO recordings (world_id, id, end_user_id, status, source, consent_obtained, recorded_at, created_at,
    updated_at)
SELECT DISTINCT $1::bigint, recording_id, end_user_id, 'uploaded', 'device', true, now(), now(), now()
FROM made
"""
_TRANSCRIPTS = """
INSERT INTO search_transcripts (world_id, recording_id, transcription_id, end_user_id, configuration, chunks,
    model, indexed_at)
SELECT $1, recording_id, 'txn_' || recording_id, min(end_user_id), 'english', count(*), $2, now()
FROM made GROUP BY recording_id
"""
_CHUNKS = """
INSERT INTO search_chunks (world_id, id, recording_id, transcription_id, end_user_id, recorded_at, place,
    chunk_text, start_ms, end_ms, words)
SELECT $1::bigint, chunk_id, recording_id, 'txn_' || recording_id, end_user_id, now(), place, chunk_text,
    place * 30000, place * 30000 + 30000, strip(to_tsvector('english', chunk_text))
        || array_to_tsvector(ARRAY['@' || $1 || '@' || end_user_id])
FROM made
"""
_VECTORS = """
INSERT INTO search_vectors (world_id, chunk_id, model, recording_id, end_user_id, recorded_at, configuration,
    meaning)
SELECT $1, chunk_id, $2, recording_id, end_user_id, now(), 'english', meaning FROM made
"""
# Indexes are built in one go, which is several times faster than row by row.
_WITHOUT_INDEXES = "DROP INDEX search_chunks_words; DROP INDEX search_vectors_meaning"
_WORDS_INDEX = "CREATE INDEX search_chunks_words ON search_chunks USING gin (words) WITH (fastupdate = off)"
_MEANING = "USING hnsw (meaning halfvec_ip_ops)"
_MEANING_INDEX = f"CREATE INDEX search_vectors_meaning ON search_vectors {_MEANING}"
_MEMORY = "SET maintenance_work_mem = '256MB'; SET max_parallel_maintenance_workers = 0"


@dataclass(frozen=True)
class Material:
    """What chunks are made of: vectors of real passages, words and how often each is said."""

    vectors: NDArray[np.float32]
    words: NDArray[np.str_]
    frequencies: NDArray[np.float64]


def spoken() -> list[Chunk]:
    """All passages of the shipped conversations, as a search would find them."""
    found: list[Chunk] = []
    for conversation in conversations():
        segments = [
            Segment(start=each.start, end=each.end, text=each.text, confidence=1, speaker=each.speaker)
            for each in conversation.segments
        ]
        found += chunks_of(sentences_of(segments))
    return found


async def material(embeddings: Embeddings) -> Material:
    """Embed some passages of each kind of conversation, and count the words of all."""
    passages = spoken()
    chosen = passages[:: max(1, len(passages) // _PASSAGES)][:_PASSAGES]
    vectors = await embeddings.passages([each.text for each in chosen])
    counted = Counter(word for each in passages for word in each.text.split())
    numbers = np.array(list(counted.values()), dtype=np.float64)
    return Material(
        np.frombuffer(b"".join(vectors), dtype="<f4").reshape(-1, DIMENSIONS),
        np.array(list(counted)),
        numbers / numbers.sum(),
    )


async def grow(owner_dsn: str, world_id: int, model: str, made_of: Material, owners: list[str]) -> None:
    """Add a chunk for each of the end users named, 20 in a row for a recording, and build the indexes.

    `owner_dsn`: of a superuser. Foreign keys hold by construction, so they are not checked row by row.
    """
    connection = await asyncpg.connect(owner_dsn)
    try:
        await connection.set_type_codec("halfvec", encoder=bytes, decoder=bytes, format="binary")
        await connection.execute(f"SET session_replication_role = replica; {_MEMORY}")
        await connection.execute(f"{_WITHOUT_INDEXES}; {_STAGING}")
        offset: int = await connection.fetchval("SELECT count(*) FROM search_chunks")
        for first in range(0, len(owners), _AT_ONCE):
            part = _rows(made_of, offset + first, owners[first : first + _AT_ONCE])
            await connection.copy_records_to_table("made", records=part)
            await connection.execute(_END_USERS, world_id)
            await connection.execute(_RECORDINGS, world_id)
            await connection.execute(_TRANSCRIPTS, world_id, model)
            await connection.execute(_CHUNKS, world_id)
            await connection.execute(_VECTORS, world_id, model)
            await connection.execute("TRUNCATE made")
        await connection.execute(_WORDS_INDEX)
        await _index_meanings(owner_dsn)
        await connection.execute(_MEANING_INDEX)  # takes the indexes of the partitions
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def _index_meanings(owner_dsn: str) -> None:
    """As many partitions at a time as there are cores."""
    waiting = list(range(PARTITIONS))

    async def build() -> None:
        connection = await asyncpg.connect(owner_dsn)
        try:
            await connection.execute(_MEMORY)
            while waiting:
                table = f"search_vectors_{waiting.pop()}"
                await connection.execute(f"CREATE INDEX {table}_meaning_idx ON {table} {_MEANING}")
        finally:
            await connection.close()

    await asyncio.gather(*(build() for _ in range(cores())))


def _rows(made_of: Material, first: int, owners: list[str]) -> Iterator[tuple[object, ...]]:
    """Rows of the staging table. A recording has 20 chunks, or fewer where another end user begins."""
    drawn = np.random.default_rng(first)
    texts = drawn.choice(made_of.words, (len(owners), _WORDS), p=made_of.frequencies)
    vectors = _vectors(drawn, made_of.vectors, len(owners))
    begun, owner = first, None
    for place, each in enumerate(owners):
        number = first + place
        if each != owner or number - begun == OF_A_RECORDING:
            begun, owner = number, each
        yield (
            f"chk_{number:024}",
            f"rec_{begun:024}",
            each,
            number - begun,
            " ".join(texts[place]),
            # What pgvector receives: the number of dimensions, zero, and numbers in network order.
            DIMENSIONS.to_bytes(2) + b"\0\0" + vectors[place].tobytes(),
        )


def _vectors(drawn: np.random.Generator, real: NDArray[np.float32], count: int) -> NDArray[np.float16]:
    one, other = (real[drawn.integers(0, len(real), count)] for _ in range(2))
    share = drawn.random((count, 1), dtype=np.float32)
    differences = (real - real.mean(axis=0)) / np.float32(len(real) ** 0.5)
    noise = _NOISE * (drawn.standard_normal((count, len(real)), dtype=np.float32) @ differences)
    mixed = share * one + (1 - share) * other + noise
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(">f2")
