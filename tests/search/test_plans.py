"""The statements read along indexes, and no end user's chunk is missed, however many there are of others."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncGenerator
from typing import Any

import asyncpg
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.slices.search import queries
from lapel.slices.search.indexing import index_queries, vector_queries
from lapel.slices.search.passages.search_words import terms_of
from lapel.slices.search.queries import SEARCHES, SearchFilters
from tests.support.plans import copy_of, filled_once, indexes_of

# 3,000 chunks: a twentieth is of one end user, a hundredth of another, the rest of three hundred others.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects VALUES ('proj_1', 'org_1', 'x', now());
INSERT INTO worlds (project_id, mode) VALUES ('proj_1', 'live');
CREATE TEMPORARY TABLE made AS SELECT n, w.id AS world_id,
    'eu_' || CASE WHEN n % 20 = 0 THEN 'twentieth' WHEN n % 100 = 1 THEN 'hundredth' ELSE (n % 300)::text END
        AS end_user_id
    FROM generate_series(1, 3000) n, worlds w;
INSERT INTO end_users (world_id, id, created_at, updated_at)
    SELECT DISTINCT world_id, end_user_id, now(), now() FROM made
    UNION ALL SELECT w.id, 'eu_other' || n, now(), now() FROM worlds w, generate_series(1, 3000) n;
INSERT INTO recordings (world_id, id, end_user_id, status, source, consent_obtained, created_at, updated_at)
    SELECT world_id, 'rec_' || n, end_user_id, 'uploaded', 'device', false, now(), now() FROM made;
INSERT INTO search_transcripts (world_id, recording_id, transcription_id, end_user_id, configuration, chunks,
        model, indexed_at)
    SELECT world_id, 'rec_' || n, 'txn_' || n, end_user_id, 'english', 1, 'm', now() FROM made;
INSERT INTO search_chunks (world_id, id, recording_id, transcription_id, end_user_id, place, chunk_text,
        start_ms, end_ms, words)
    SELECT world_id, 'chk_' || n, 'rec_' || n, 'txn_' || n, end_user_id, 0, 'x', 0, 1,
        to_tsvector('simple', 'word' || n % 50 || ' number' || n)
            || array_to_tsvector(ARRAY['@' || world_id || '@' || end_user_id])
    FROM made;
INSERT INTO search_vectors (world_id, chunk_id, model, recording_id, end_user_id, configuration, meaning)
    SELECT m.world_id, 'chk_' || m.n, 'm', 'rec_' || m.n, m.end_user_id, 'english', (
        SELECT l2_normalize(
            array_agg(sin(m.n * 7.3 + d * (1 + m.n % 40)) + 0.2 * cos(m.n * d))::real[]::halfvec(384))
        FROM generate_series(1, 384) d)
    FROM made m;
"""
OWN = "SELECT id FROM search_chunks WHERE world_id = $1 AND end_user_id = $2"
EXACT = """
SELECT v.chunk_id FROM search_vectors v WHERE (v.world_id = $1 AND v.end_user_id = $2) IS TRUE
ORDER BY (v.meaning <#> $3::real[]::halfvec(384)) + 0, v.chunk_id LIMIT 20
"""

archive = filled_once(FILL)


@pytest.fixture
async def connection(postgres: EmbeddedPostgres, archive: str) -> AsyncGenerator[asyncpg.Connection[Any]]:
    async with copy_of(postgres, archive) as opened:
        await opened.execute("SET hnsw.iterative_scan = strict_order; SET hnsw.ef_search = 100")
        yield opened


async def test_every_statement_reads_along_an_index(connection: asyncpg.Connection[Any]) -> None:
    await connection.execute("SET enable_seqscan = off")  # these tables have few rows
    for name, sql in SEARCHES.items():
        used = await indexes_of(connection, sql, may_sort=True)
        assert "search_chunks_words" in used, name
        vectors = {each.split("_", 3)[-1] for each in used if each.startswith("search_vectors")}
        # Plans for NULL: the partitions of an end user are chosen when the plan begins, so none is left.
        assert vectors == ({"meaning_idx"} if name.startswith("search_vectors") else set()), (name, used)
    for sql, index in {
        queries.EXTENT: "search_transcripts_of_end_user",
        index_queries.FIND_INDEXED: "search_transcripts_pkey",
        index_queries.DELETE_CHUNKS: "search_chunks_of_recording",
        index_queries.DELETE_TRANSCRIPTS: "search_transcripts_pkey",
        vector_queries.LOCK: "search_transcripts_pkey",
        vector_queries.READ_LACKING: "search_chunks_of_recording",
        vector_queries.CLAIM: "search_transcripts_due",
        vector_queries.HAS_DUE: "search_transcripts_due",
        vector_queries.COUNT_LACKING: "search_transcripts_due",
        vector_queries.WAITING: "search_transcripts_due",
        vector_queries.RENEW_MODEL: "search_transcripts_of_model",
        vector_queries.FORGET_OLD: "search_transcripts_with_old",
    }.items():
        assert index in await indexes_of(connection, sql, may_sort=True), sql


@pytest.mark.parametrize(("end_user", "least"), [("eu_hundredth", 1.0), ("eu_twentieth", 0.95)])
@pytest.mark.parametrize("nearness", ["end_user", "index"])
async def test_an_end_user_misses_nothing_among_many(
    connection: asyncpg.Connection[Any], end_user: str, least: float, nearness: queries.Nearness
) -> None:
    world_id = await connection.fetchval("SELECT id FROM worlds")
    drawn = random.Random(5)
    met = wanted = 0
    for _ in range(5):
        vector = [drawn.gauss(0, 1) for _ in range(384)]
        length = math.sqrt(sum(each * each for each in vector))
        vector = [each / length for each in vector]
        exact = {row[0] for row in await connection.fetch(EXACT, world_id, end_user, vector)}
        found = await queries.search(
            connection,
            (world_id, end_user),
            [],
            await queries.extent(connection, world_id, end_user),
            SearchFilters(),
            limit=20,
            nearness=nearness,
            vector=vector,
            model="m",
        )
        met += len(exact & {row.chunk_id for row in found})
        wanted += len(exact)
    assert wanted == 100
    assert met / wanted >= (1.0 if nearness == "end_user" else least)


async def test_words_of_one_end_user_are_found_among_those_of_others(
    connection: asyncpg.Connection[Any],
) -> None:
    world_id = await connection.fetchval("SELECT id FROM worlds")
    own = {row[0] for row in await connection.fetch(OWN, world_id, "eu_twentieth")}
    found = await queries.search(
        connection,
        (world_id, "eu_twentieth"),
        terms_of("word0 number400"),
        await queries.extent(connection, world_id, "eu_twentieth"),
        SearchFilters(),
        limit=50,
    )
    assert found[0].chunk_id == "chk_400"
    assert len(found) == 30
    assert {row.chunk_id for row in found} <= own
