"""The SQL that finds the chunks whose vectors are nearest to that of a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from lapel.foundation.database.rows import fetch_row, fetch_rows
from lapel.slices.search.queries import FILTERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.slices.search.queries import ExtentRow, SearchFilters

# How vectors are compared: all of the end user, all of the given recordings, or along the index.
Nearness: TypeAlias = Literal["end_user", "recordings", "index"]
# An end user with a smaller share of a partition's vectors is not searched along its index.
LEAST_SHARE = 0.25


class NearRow(msgspec.Struct, frozen=True):
    """A chunk."""

    id: str


class PartitionRow(msgspec.Struct, frozen=True):
    """The partition that holds an end user's vectors, and about how many vectors it has of all end users."""

    name: str
    vectors: float


# $6: the configurations of the end user's chunks. $7: the vector of the query, $8: its model. The product is
# negative, so the nearest come first. In a subquery, the vector is converted once; else PostgreSQL converts
# it for each row, which takes longer than the comparison.
_DISTANCE = "c.meaning <#> (SELECT $7::real[]::halfvec(384))"
# The model finds texts of the query's own language nearer than they are. So what the texts of a language
# have in common is taken away: the mean distance of a sample, in which few texts count less. The last
# characters of ids are random. An end user with one language needs no sample. Of the nearest, 50 are given.
_NEAREST = f"""
WITH sample AS MATERIALIZED (
    SELECT s.configuration, v.distance FROM (
        SELECT t.recording_id, t.configuration,
            row_number() OVER (PARTITION BY t.configuration ORDER BY right(t.recording_id, 6)) AS place
        FROM search_transcripts t
        WHERE t.world_id = $1 AND t.end_user_id = $2 AND t.model IS NOT NULL AND cardinality($6::text[]) > 1
    ) s CROSS JOIN LATERAL (
        SELECT {_DISTANCE} AS distance FROM search_vectors c
        WHERE c.world_id = $1 AND c.recording_id = s.recording_id AND c.end_user_id = $2 AND c.model = $8
        LIMIT 20
    ) v WHERE s.place <= 25
), language_means AS MATERIALIZED (
    SELECT o.configuration,
        (sum(o.distance) + 10 * (SELECT avg(a.distance) FROM sample a)) / (count(*) + 10) AS mean
    FROM sample o GROUP BY o.configuration
)
SELECT c.id FROM (
{{vectors}}
) c LEFT JOIN language_means l ON l.configuration = c.configuration
ORDER BY c.distance - coalesce(l.mean, (SELECT avg(a.distance) FROM sample a), 0), c.id LIMIT 50
"""
_VECTORS = f"    SELECT c.chunk_id AS id, c.configuration, {_DISTANCE} AS distance FROM"
# The planner does not know a value from a subquery, so it reads along an index. For a known end user with
# many chunks it would read the whole partition.
_OF_ALL = f"""{_VECTORS} search_vectors c
    WHERE c.world_id = $1 AND c.end_user_id = (SELECT $2::text) AND c.model = $8 AND {FILTERS}"""
_OF_RECORDINGS = f"""{_VECTORS} search_vectors c
    WHERE c.world_id = $1 AND c.recording_id = ANY((SELECT $3::text[])::text[])
        AND c.end_user_id = $2 AND c.model = $8 AND {FILTERS}"""
# The walk gives more than are wanted, because the means of languages change the order. With IS TRUE,
# PostgreSQL does not look up the end user in another index, and read all of its rows.
_ALONG_INDEX = f"""{_VECTORS} {{partition}} c
    WHERE (c.world_id = $1 AND c.end_user_id = $2) IS TRUE AND (c.model = $8) IS TRUE AND {FILTERS}
    ORDER BY {_DISTANCE} LIMIT 200"""

# Each way to compare vectors has its own statement, so that each has its own plan. A condition that lets
# PostgreSQL choose the partition would also let it choose the index of the end user's rows, and read all of
# them. So each partition has its own statement, too.
NEAREST: dict[str, str] = {
    "end_user": _NEAREST.format(vectors=_OF_ALL),
    "recordings": _NEAREST.format(vectors=_OF_RECORDINGS),
} | {
    partition: _NEAREST.format(vectors=_ALONG_INDEX.format(partition=partition))
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


async def find_nearest(
    connection: Connection,
    owner: tuple[int, str],
    filters: SearchFilters,
    extent: Sequence[ExtentRow],
    nearness: Nearness,
    vector: list[float],
    model: str,
) -> list[NearRow]:
    """At most 50 chunks, the nearest first. `owner`: world and end user. `extent`: of the end user.

    `nearness` is "index" in a transaction only, because settings of the transaction are changed.
    """
    name: str | None = nearness
    if nearness == "index":
        chunks = sum(row.chunks for row in extent)
        name = await statement_along_index(connection, owner, chunks, model)
    if name is None:
        return []
    return await fetch_rows(
        connection,
        NearRow,
        NEAREST[name],
        *owner,
        filters.recording_ids,
        filters.after,
        filters.before,
        [row.configuration for row in extent],
        vector,
        model,
    )


async def statement_along_index(
    connection: Connection, owner: tuple[int, str], chunks: int, model: str
) -> str | None:
    """Which of NEAREST finds the nearest of an end user with so many chunks, and the settings it needs.

    Along the index of the partition. If less than a quarter of the partition is the end user's, all vectors
    are compared: the walk would pass over those of others, and take longer. None: no chunk has a vector.
    """
    found = await fetch_row(connection, PartitionRow, FIND_PARTITION, *owner, model)
    if found is None:
        return None
    if chunks < LEAST_SHARE * found.vectors:
        return "end_user"
    await connection.execute(WALK)
    return found.name
