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
from lapel.slices.search.nearest_queries import NEAREST, Nearness, find_nearest, statement_along_index
from lapel.slices.search.passages.search_words import terms_of
from lapel.slices.search.queries import SearchFilters
from lapel.slices.search.service import MOST_EXACT, nearness
from lapel.slices.search.word_queries import BY_WORDS, find_by_words
from tests.support.plans import copy_of, filled_once, indexes_of

# 10,000 chunks, and 10,000 end users: a quarter is of one, another quarter of one with two languages, a
# hundredth of one, and 4,900 have one each. Each vector is a part of one long row of random numbers, so all
# are about equally far from each other. That is the hardest for a walk along an index. The second language
# has something in common. The index is built when the rows are there, which is quicker.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects VALUES ('proj_1', 'org_1', 'x', now());
INSERT INTO worlds (project_id, mode) VALUES ('proj_1', 'live');
CREATE TEMPORARY TABLE made AS SELECT n, w.id AS world_id,
    CASE WHEN n % 8 = 6 THEN 'german' ELSE 'english' END AS configuration,
    'eu_' || CASE WHEN n % 4 = 0 THEN 'quarter' WHEN n % 4 = 2 THEN 'bilingual'
        WHEN n % 100 = 1 THEN 'hundredth' ELSE n::text END AS end_user_id
    FROM generate_series(1, 10000) n, worlds w;
INSERT INTO end_users (world_id, id, created_at, updated_at)
    SELECT DISTINCT world_id, end_user_id, now(), now() FROM made
    UNION ALL SELECT w.id, 'eu_other' || n, now(), now() FROM worlds w, generate_series(1, 5097) n;
INSERT INTO recordings (world_id, id, end_user_id, status, source, consent_obtained, created_at, updated_at)
    SELECT world_id, 'rec_' || n, end_user_id, 'uploaded', 'device', false, now(), now() FROM made;
INSERT INTO search_transcripts (world_id, recording_id, transcription_id, end_user_id, configuration, chunks,
        model, indexed_at)
    SELECT world_id, 'rec_' || n, 'txn_' || n, end_user_id, configuration, 1, 'm', now() FROM made;
INSERT INTO search_chunks (world_id, id, recording_id, transcription_id, end_user_id, place, chunk_text,
        start_ms, end_ms, words)
    SELECT world_id, 'chk_' || n, 'rec_' || n, 'txn_' || n, end_user_id, 0, 'x', 0, 1,
        to_tsvector('simple', 'word' || n % 50 || ' number' || n)
            || array_to_tsvector(ARRAY['@' || world_id || '@' || end_user_id])
    FROM made;
SELECT setseed(0.5);
CREATE TEMPORARY TABLE drawn AS SELECT
    (SELECT array_agg(random_normal(0, 0.05)::real) FROM generate_series(1, 10400)) AS numbers,
    (SELECT array_agg(0.01 * sin(n)) FROM generate_series(1, 384) n)::real[]::halfvec(384) AS common;
DROP INDEX search_vectors_meaning;
INSERT INTO search_vectors (world_id, chunk_id, model, recording_id, end_user_id, configuration, meaning)
    SELECT m.world_id, 'chk_' || m.n, 'm', 'rec_' || m.n, m.end_user_id, m.configuration,
        l2_normalize(CASE m.configuration WHEN 'german' THEN v.own + d.common ELSE v.own END)
    FROM made m, drawn d, LATERAL (SELECT d.numbers[m.n:m.n + 383]::halfvec(384) AS own) v;
SET max_parallel_maintenance_workers = 0;
CREATE INDEX search_vectors_meaning ON search_vectors USING hnsw (meaning halfvec_ip_ops);
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
        yield opened


@pytest.mark.deep
async def test_every_statement_reads_along_an_index(connection: asyncpg.Connection[Any]) -> None:
    await connection.execute("SET enable_seqscan = off")  # these tables have few rows
    for name, sql in NEAREST.items():
        used = await indexes_of(connection, sql, may_sort=True)
        vectors = {each.split("_", 3)[-1] for each in used if each.startswith("search_vectors")}
        # Plans for NULL: the partitions of a known end user are chosen when the plan begins, so none is left.
        wanted = {"meaning_idx"} if name.startswith("search_vectors") else set[str]()
        assert vectors == ({"pkey"} if name == "end_user" else wanted), (name, used)
    for sql, index in {
        queries.EXTENT: "search_transcripts_of_end_user",
        queries.READ_CHUNKS: "search_chunks_pkey",
        BY_WORDS: "search_chunks_words",
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


@pytest.mark.parametrize("end_user", ["eu_hundredth", "eu_quarter"])
@pytest.mark.parametrize("nearness", ["end_user", "index"])
async def test_an_end_user_misses_nothing_among_many(
    connection: asyncpg.Connection[Any], end_user: str, nearness: Nearness
) -> None:
    world_id = await connection.fetchval("SELECT id FROM worlds")
    drawn = random.Random(5)
    met = wanted = 0
    for _ in range(5):
        vector = _vector(drawn)
        exact = {row[0] for row in await connection.fetch(EXACT, world_id, end_user, vector)}
        met += len(exact & await _nearest(connection, end_user, vector, nearness))
        wanted += len(exact)
    assert wanted == 100
    assert met >= (95 if (end_user, nearness) == ("eu_quarter", "index") else 100)


def test_all_vectors_are_compared_unless_there_are_very_many() -> None:
    assert nearness(MOST_EXACT, are_chosen=False, are_dated=False) == "end_user"
    assert nearness(MOST_EXACT + 1, are_chosen=False, are_dated=False) == "index"
    # A walk along the index might end before it meets one of them.
    assert nearness(MOST_EXACT + 1, are_chosen=False, are_dated=True) == "end_user"
    assert nearness(MOST_EXACT + 1, are_chosen=True, are_dated=True) == "recordings"
    assert nearness(100, are_chosen=True, are_dated=False) == "end_user"


async def test_the_index_is_left_alone_when_most_vectors_are_of_others(
    connection: asyncpg.Connection[Any],
) -> None:
    world_id = await connection.fetchval("SELECT id FROM worlds")
    found: list[str | None] = []
    async with connection.transaction():
        for end_user, chunks in (("eu_quarter", 2500), ("eu_hundredth", 100), ("eu_other1", 1)):
            owner = (world_id, end_user)
            found.append(await statement_along_index(connection, owner, chunks, "m"))
    along, *others = found
    assert along is not None
    assert along.startswith("search_vectors_")
    assert others == ["end_user", None]
    assert await connection.fetchval("SHOW enable_seqscan") == "on"  # settings end with the transaction


async def test_what_a_language_has_in_common_is_taken_away_along_the_index_too(
    connection: asyncpg.Connection[Any],
) -> None:
    drawn = random.Random(6)
    met = german = 0
    for _ in range(5):
        vector = _vector(drawn, common=0.5)
        along = await _nearest(connection, "eu_bilingual", vector, "index")
        compared = await _nearest(connection, "eu_bilingual", vector, "end_user")
        met += len(along & compared)
        german += sum(int(each.removeprefix("chk_")) % 8 == 6 for each in along)
    assert met >= 95
    assert 25 <= german <= 75  # with what is in common, 98 of 100


def _vector(drawn: random.Random, common: float = 0.0) -> list[float]:
    """A vector of length 1; `common`: how much it has of what the second language has in common."""
    made = [drawn.gauss(0, 0.05) + common * 0.07 * math.sin(n) for n in range(1, 385)]
    length = math.hypot(*made)
    return [each / length for each in made]


async def _nearest(
    connection: asyncpg.Connection[Any], end_user: str, vector: list[float], nearness: Nearness
) -> set[str]:
    """The ids of the 20 nearest."""
    owner = (await connection.fetchval("SELECT id FROM worlds"), end_user)
    async with connection.transaction():
        extent = await queries.extent(connection, *owner)
        found = await find_nearest(connection, owner, SearchFilters(), extent, nearness, vector, "m")
    return {row.id for row in found[:20]}


async def test_words_of_one_end_user_are_found_among_those_of_others(
    connection: asyncpg.Connection[Any],
) -> None:
    world_id = await connection.fetchval("SELECT id FROM worlds")
    own = {row[0] for row in await connection.fetch(OWN, world_id, "eu_quarter")}
    owner = (world_id, "eu_quarter")
    extent = await queries.extent(connection, *owner)
    found = await find_by_words(connection, owner, SearchFilters(), extent, terms_of("word0 number400"))
    assert found[0].id == "chk_400"
    assert found[0].share == 1
    assert all(0 < row.share < 1 for row in found[1:])
    assert len(found) == 50  # of 100
    assert {row.id for row in found} <= own
