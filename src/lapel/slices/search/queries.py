"""The SQL that searches.

One statement finds the chunks by words and by meaning, and joins both lists by reciprocal rank (Cormack,
Clarke and Buettcher, 2009). docs/decisions/0025 gives the reasons and the plans.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from lapel.foundation.database.rows import fetch_row, fetch_rows
from lapel.slices.end_users.service import ACTIVE_END_USER
from lapel.slices.recordings.service import seen_recording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.slices.search.passages.search_words import Term

# How vectors are compared: all of the end user, all of the given recordings, along the index, or not at all.
Nearness: TypeAlias = Literal["end_user", "recordings", "index", "none"]
# An end user with a smaller share of a partition's vectors is not searched along its index.
LEAST_SHARE = 0.25


class FoundRow(msgspec.Struct, frozen=True):
    """A found chunk. `score`: greater is better; at most 2/61."""

    chunk_id: str
    recording_id: str
    transcription_id: str
    chunk_text: str
    speaker: str | None
    start_ms: int
    end_ms: int
    recorded_at: datetime | None
    score: float


class ExtentRow(msgspec.Struct, frozen=True):
    """How many transcripts and chunks an end user has in one text search configuration.

    An end user without transcripts has one row, which counts none.
    """

    configuration: str
    transcripts: int
    chunks: int


class PartitionRow(msgspec.Struct, frozen=True):
    """The partition that holds an end user's vectors, and about how many vectors it has of all end users."""

    name: str
    vectors: float


class SearchFilters(msgspec.Struct, frozen=True):
    """Only chunks of these recordings (None: all), recorded at `after` or later, and before `before`."""

    recording_ids: list[str] | None = None
    after: datetime | None = None
    before: datetime | None = None


def end_user_lexeme(world_id: str, end_user_id: str) -> str:
    """SQL: the lexeme by which all chunks of an end user are found in the index of the words.

    No text has it, because no word has a `@`. `world_id`, `end_user_id`: expressions.
    """
    return f"('@' || {world_id} || '@' || {end_user_id})"


# No row: there is no such end user. Of the transcripts, it reads the index alone, where each has one entry
# however long it is.
EXTENT = f"""
SELECT coalesce(t.configuration, 'simple') AS configuration, count(t.configuration) AS transcripts,
    coalesce(sum(t.chunks), 0)::bigint AS chunks
FROM ({ACTIVE_END_USER}) e LEFT JOIN search_transcripts t ON t.world_id = $1 AND t.end_user_id = $2
GROUP BY t.configuration
"""

# The conditions are tested on the rows that an index has found by other conditions. With IS TRUE, PostgreSQL
# does not look up the end user in another index instead, which would read all rows of a large end user.
_OF_END_USER = "(c.world_id = $1 AND c.end_user_id = $2) IS TRUE"
_FILTERS = """($3::text[] IS NULL OR c.recording_id = ANY($3))
        AND ($4::timestamptz IS NULL OR c.recorded_at >= $4)
        AND ($5::timestamptz IS NULL OR c.recorded_at < $5)"""

# $6, $7: word and other forms of each term. $8: the configurations of the end user's chunks. $9: how many
# chunks the end user has. A form is found if its lexeme and the end user's are in one chunk; the index jumps
# from chunk to chunk of the rarer lexeme. A term that is in fewer chunks has more weight (the inverse
# document frequency). A word of more than 1,500 chunks has nearly none, so not all of its chunks are read.
# `share`: the weight of the chunk's terms, of all terms.
_BY_WORDS = f"""
WITH terms AS MATERIALIZED (
    SELECT t.place,
        ('''' || {end_user_lexeme("$1::bigint", "$2")} || ''' & (' || t.forms || ')')::tsquery AS query
    FROM (
        SELECT g.place, concat_ws(' | ', (
            SELECT string_agg(DISTINCT quote_literal(l.lexeme), ' | ')
            FROM unnest($8::text[]) AS s (configuration)
            CROSS JOIN LATERAL unnest(tsvector_to_array(to_tsvector(s.configuration::regconfig, g.word)))
                AS l (lexeme)
        ), nullif(g.query, '')) AS forms
        FROM unnest($6::text[], $7::text[]) WITH ORDINALITY AS g (word, query, place)
    ) t WHERE t.forms <> ''
), hits AS MATERIALIZED (
    SELECT t.place, h.id FROM terms t CROSS JOIN LATERAL (
        SELECT c.id FROM search_chunks c
        WHERE c.words @@ t.query AND {_OF_END_USER}
        AND {_FILTERS}
        LIMIT 1500
    ) h
), weights AS MATERIALIZED (
    SELECT t.place, ln(1 + greatest($9::float8, count(h.id)) / greatest(count(h.id), 0.5)) AS weight
    FROM terms t LEFT JOIN hits h ON h.place = t.place GROUP BY t.place
), by_words AS (
    SELECT s.id, s.weight / (SELECT sum(w.weight) FROM weights w) AS share,
        row_number() OVER (ORDER BY s.weight DESC, s.id) AS rank
    FROM (
        SELECT h.id, sum(w.weight) AS weight FROM hits h JOIN weights w ON w.place = h.place
        GROUP BY h.id ORDER BY weight DESC, h.id LIMIT 50
    ) s
)"""

# $11: the vector of the query, $12: its model. The product is negative, so the nearest come first. In a
# subquery, the vector is converted once; else PostgreSQL converts it for each row, which takes longer than
# the comparison.
_DISTANCE = "c.meaning <#> (SELECT $11::real[]::halfvec(384))"
# The model finds texts of the query's own language nearer than they are. So what the texts of a language
# have in common is taken away: the mean distance of a sample, in which few texts count less. The last
# characters of ids are random. An end user with one language needs no sample.
_MEANS = f""", sample AS MATERIALIZED (
    SELECT s.configuration, v.distance FROM (
        SELECT t.recording_id, t.configuration,
            row_number() OVER (PARTITION BY t.configuration ORDER BY right(t.recording_id, 6)) AS place
        FROM search_transcripts t
        WHERE t.world_id = $1 AND t.end_user_id = $2 AND t.model IS NOT NULL AND cardinality($8::text[]) > 1
    ) s CROSS JOIN LATERAL (
        SELECT {_DISTANCE} AS distance FROM search_vectors c
        WHERE c.world_id = $1 AND c.recording_id = s.recording_id AND c.end_user_id = $2 AND c.model = $12
        LIMIT 20
    ) v WHERE s.place <= 25
), language_means AS MATERIALIZED (
    SELECT o.configuration,
        (sum(o.distance) + 10 * (SELECT avg(a.distance) FROM sample a)) / (count(*) + 10) AS mean
    FROM sample o GROUP BY o.configuration
)"""
_NEAR = """
SELECT e.id, row_number() OVER (ORDER BY e.distance, e.id) AS rank FROM (
    SELECT c.id, c.distance - coalesce(l.mean, (SELECT avg(a.distance) FROM sample a), 0) AS distance
    FROM ({vectors}) c LEFT JOIN language_means l ON l.configuration = c.configuration
    ORDER BY distance, c.id LIMIT 50
) e"""
_VECTORS = f"SELECT c.chunk_id AS id, c.configuration, {_DISTANCE} AS distance FROM"
# The planner does not know a value from a subquery, so it reads along an index. For a known end user with
# many chunks it would read the whole partition.
_OF_ALL = f"""{_VECTORS} search_vectors c
    WHERE c.world_id = $1 AND c.end_user_id = (SELECT $2::text) AND c.model = $12 AND {_FILTERS}"""
_OF_RECORDINGS = f"""{_VECTORS} search_vectors c
    WHERE c.world_id = $1 AND c.recording_id = ANY((SELECT $3::text[])::text[])
        AND c.end_user_id = $2 AND c.model = $12 AND {_FILTERS}"""
# The walk gives more than are wanted, because the means of languages change the order.
_ALONG_INDEX = f"""{_VECTORS} {{partition}} c
    WHERE {_OF_END_USER} AND (c.model = $12) IS TRUE AND {_FILTERS}
    ORDER BY {_DISTANCE} LIMIT 200"""


_PARTS_OF_WORDS = "SELECT w.id, w.share * w.share / (60 + w.rank) AS part FROM by_words w"
_PARTS_OF_MEANING = " UNION ALL SELECT m.id, 1.0 / (60 + m.rank) AS part FROM ({near}) m"
_BEST = """{found}
, best AS (
    SELECT p.id, sum(p.part)::float8 AS score FROM ({parts}) p GROUP BY p.id
    ORDER BY score DESC, p.id LIMIT $10
)
SELECT c.id AS chunk_id, c.recording_id, c.transcription_id, c.chunk_text, c.speaker, c.start_ms, c.end_ms,
    c.recorded_at, b.score
FROM best b JOIN search_chunks c ON c.world_id = $1 AND c.id = b.id
WHERE {seen}
ORDER BY b.score DESC, c.id
"""


def _statement(vectors: str = "") -> str:
    """The statement that finds chunks by words and, if `vectors` are given, by these."""
    seen = seen_recording("c", "$2")
    if not vectors:
        return _BEST.format(found=_BY_WORDS, parts=_PARTS_OF_WORDS, seen=seen)
    parts = _PARTS_OF_WORDS + _PARTS_OF_MEANING.format(near=_NEAR.format(vectors=vectors))
    return _BEST.format(found=_BY_WORDS + _MEANS, parts=parts, seen=seen)


# Each way to compare vectors has its own statement, so that each has its own plan. A condition that lets
# PostgreSQL choose the partition would also let it choose the index of the end user's rows, and read all of
# them. So each partition has its own statement, too.
SEARCHES: dict[str, str] = {
    "none": _statement(),
    "end_user": _statement(_OF_ALL),
    "recordings": _statement(_OF_RECORDINGS),
} | {
    partition: _statement(_ALONG_INDEX.format(partition=partition))
    for partition in (f"search_vectors_{each}" for each in range(8))
}

FIND_PARTITION = """
SELECT p.relname::text AS name, p.reltuples::float8 AS vectors FROM (
    SELECT v.tableoid FROM search_vectors v
    WHERE v.world_id = $1 AND v.end_user_id = $2 AND v.model = $3 LIMIT 1
) v JOIN pg_class p ON p.oid = v.tableoid
"""

# For the transaction, because a connection pooler may give the session's settings to others, or drop them.
# The walk keeps the 800 nearest vectors that it meets. If fewer than wanted are the end user's, it goes on.
WALK = """
SELECT set_config('hnsw.ef_search', '800', true), set_config('hnsw.iterative_scan', 'relaxed_order', true),
    set_config('hnsw.scan_mem_multiplier', '8', true), set_config('enable_seqscan', 'off', true)
"""


async def extent(connection: Connection, world_id: int, end_user_id: str) -> list[ExtentRow]:
    """How much of an end user can be searched, by text search configuration. None for an unknown end user."""
    return await fetch_rows(connection, ExtentRow, EXTENT, world_id, end_user_id)


async def search(
    connection: Connection,
    owner: tuple[int, str],
    terms: Sequence[Term],
    extent: Sequence[ExtentRow],
    filters: SearchFilters,
    *,
    limit: int,
    nearness: Nearness = "none",
    vector: list[float] | None = None,
    model: str | None = None,
) -> list[FoundRow]:
    """The best chunks, best first. `owner`: world and end user. `vector` and `model`: unless `nearness` is
    none. Along the index, the connection is in a transaction, whose settings are changed.
    """
    name: str = nearness
    chunks = sum(row.chunks for row in extent)
    if nearness == "index":
        name = await statement_along_index(connection, owner, chunks, model)
    return await fetch_rows(
        connection,
        FoundRow,
        SEARCHES[name],
        *owner,
        filters.recording_ids,
        filters.after,
        filters.before,
        [term.word for term in terms],
        [term.query for term in terms],
        [row.configuration for row in extent],
        float(chunks),
        limit,
        *(() if name == "none" else (vector, model)),
    )


async def statement_along_index(
    connection: Connection, owner: tuple[int, str], chunks: int, model: str | None
) -> str:
    """Which of SEARCHES finds the nearest of an end user with so many chunks, and the settings it needs.

    Along the index of the partition. If less than a quarter of the partition is the end user's, all vectors
    are compared: the walk would pass over those of others, and take longer.
    """
    found = await fetch_row(connection, PartitionRow, FIND_PARTITION, *owner, model)
    if found is None:  # no chunk has a vector yet
        return "none"
    if chunks < LEAST_SHARE * found.vectors:
        return "end_user"
    await connection.execute(WALK)
    return found.name
