"""The SQL that writes and deletes what a search reads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_rows, fetch_value
from lapel.slices.search.passages.search_words import VERSION, indexed_words
from lapel.slices.search.word_queries import end_user_lexeme

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.slices.search.passages.chunking import Chunk
    from lapel.slices.search.passages.search_words import IndexedWords

# $7: NULL if no vectors are wanted.
_PUT = """
INSERT INTO search_transcripts (world_id, recording_id, transcription_id, end_user_id, configuration, chunks,
    embed_at, indexed_at, words_version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
# A transcription that completes replaces the recording's earlier one.
REPLACE_TRANSCRIPT = f"""{_PUT}
ON CONFLICT (world_id, recording_id) DO UPDATE SET transcription_id = excluded.transcription_id,
    configuration = excluded.configuration, chunks = excluded.chunks, model = NULL, stale_from = NULL,
    embed_at = excluded.embed_at, lease = NULL, tries = 0, indexed_at = excluded.indexed_at,
    words_version = excluded.words_version
RETURNING recording_id
"""
INSERT_TRANSCRIPT = f"{_PUT} ON CONFLICT (world_id, recording_id) DO NOTHING RETURNING recording_id"

# The words of a chunk n. The first placeholder: the configuration; the second one: the end user.
_LEXEMES = f"""strip(to_tsvector({{configuration}}::text::regconfig, n.words))
        || array_to_tsvector(array_append(string_to_array(nullif(n.lexemes, ''), ' '),
            {end_user_lexeme("$1::bigint", "{end_user}")}))"""
INSERT_CHUNKS = f"""
INSERT INTO search_chunks (world_id, id, recording_id, transcription_id, end_user_id, recorded_at, place,
    chunk_text, speaker, start_ms, end_ms, words)
SELECT $1, n.id, $2, $3, $4, $5, n.place, n.chunk_text, n.speaker, n.start_ms, n.end_ms,
    {_LEXEMES.format(configuration="$6", end_user="$4::text")}
FROM unnest($7::text[], $8::int[], $9::text[], $10::text[], $11::int[], $12::int[], $13::text[], $14::text[])
    AS n (id, place, chunk_text, speaker, start_ms, end_ms, words, lexemes)
"""

DELETE_CHUNKS = "DELETE FROM search_chunks WHERE world_id = $1 AND recording_id = ANY($2::text[])"
DELETE_VECTORS = "DELETE FROM search_vectors WHERE world_id = $1 AND recording_id = ANY($2::text[])"
DELETE_TRANSCRIPTS = "DELETE FROM search_transcripts WHERE world_id = $1 AND recording_id = ANY($2::text[])"

FIND_INDEXED = """
SELECT t.recording_id, t.words_version FROM search_transcripts t
WHERE t.world_id = $1 AND t.recording_id = ANY($2::text[])
"""

LOCK_WORDS = """
SELECT t.configuration FROM search_transcripts t
WHERE t.world_id = $1 AND t.recording_id = $2 AND t.words_version < $3 FOR UPDATE
"""
READ_TEXTS = """
SELECT c.id, c.chunk_text FROM search_chunks c WHERE c.world_id = $1 AND c.recording_id = $2 ORDER BY c.place
"""
RENEW_WORDS = f"""
UPDATE search_chunks c SET words = {_LEXEMES.format(configuration="$3", end_user="c.end_user_id")}
FROM unnest($4::text[], $5::text[], $6::text[]) AS n (id, words, lexemes)
WHERE c.world_id = $1 AND c.id = n.id AND c.recording_id = $2
"""
PUT_VERSION = """
UPDATE search_transcripts SET words_version = $3 WHERE world_id = $1 AND recording_id = $2
"""


class IndexedRow(msgspec.Struct, frozen=True):
    """A recording in the index. `words_version`: of its lexemes (`search_words.VERSION`)."""

    recording_id: str
    words_version: int


class TextRow(msgspec.Struct, frozen=True):
    """A chunk's text."""

    id: str
    chunk_text: str


async def put_transcript(
    connection: Connection,
    world_id: int,
    ids: tuple[str, str, str],
    configuration: str,
    chunks: int,
    *,
    embed_at: datetime | None,
    now: datetime,
    replace: bool,
) -> bool:
    """Write the row of a transcript. `ids`: recording, transcription and end user.

    `replace`: an earlier transcript of the recording gives way; otherwise it stays, and False is returned.
    """
    row = (world_id, *ids, configuration, chunks, embed_at, now, VERSION)
    if replace:
        put = await fetch_value(connection, str, REPLACE_TRANSCRIPT, *row)
    else:
        put = await fetch_value(connection, str, INSERT_TRANSCRIPT, *row)
    return put is not None


async def insert_chunks(
    connection: Connection,
    world_id: int,
    ids: tuple[str, str, str],
    recorded_at: datetime | None,
    configuration: str,
    chunks: Sequence[tuple[str, int, Chunk, IndexedWords]],
) -> None:
    """Insert chunks, each with its id and place. `ids`: recording, transcription and end user."""
    await connection.execute(
        INSERT_CHUNKS,
        world_id,
        *ids,
        recorded_at,
        configuration,
        [each for each, _, _, _ in chunks],
        [place for _, place, _, _ in chunks],
        [chunk.text for _, _, chunk, _ in chunks],
        [chunk.speaker for _, _, chunk, _ in chunks],
        [chunk.start_ms for _, _, chunk, _ in chunks],
        [chunk.end_ms for _, _, chunk, _ in chunks],
        [words.words for _, _, _, words in chunks],
        [words.lexemes for _, _, _, words in chunks],
    )


async def delete_chunks(connection: Connection, world_id: int, recording_ids: list[str]) -> None:
    """Delete chunks and vectors of these recordings."""
    await connection.execute(DELETE_VECTORS, world_id, recording_ids)
    await connection.execute(DELETE_CHUNKS, world_id, recording_ids)


async def delete_transcripts(connection: Connection, world_id: int, recording_ids: list[str]) -> None:
    """Delete everything by which these recordings are found."""
    await connection.execute(DELETE_TRANSCRIPTS, world_id, recording_ids)
    await delete_chunks(connection, world_id, recording_ids)


async def find_indexed(
    connection: Connection, world_id: int, recording_ids: Sequence[str]
) -> list[IndexedRow]:
    """Those of these recordings that have a transcript in the index."""
    return await fetch_rows(connection, IndexedRow, FIND_INDEXED, world_id, list(recording_ids))


async def renew_words(connection: Connection, world_id: int, recording_id: str) -> None:
    """Write the lexemes of a recording's chunks anew, unless they are of the newest version."""
    configuration = await fetch_value(connection, str, LOCK_WORDS, world_id, recording_id, VERSION)
    if configuration is None:
        return
    chunks = await fetch_rows(connection, TextRow, READ_TEXTS, world_id, recording_id)
    words = await asyncio.to_thread(
        lambda: [indexed_words(each.chunk_text, configuration) for each in chunks]
    )
    await connection.execute(
        RENEW_WORDS,
        world_id,
        recording_id,
        configuration,
        [each.id for each in chunks],
        [each.words for each in words],
        [each.lexemes for each in words],
    )
    await connection.execute(PUT_VERSION, world_id, recording_id, VERSION)
