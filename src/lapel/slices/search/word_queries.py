"""The SQL that finds the chunks with the words of a query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_rows
from lapel.slices.search.queries import FILTERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.slices.search.passages.search_words import Term
    from lapel.slices.search.queries import ExtentRow, SearchFilters


class WordsRow(msgspec.Struct, frozen=True):
    """A chunk. `share`: the weight of the terms that it has, of all terms: greater than 0, at most 1."""

    id: str
    share: float


def end_user_lexeme(world_id: str, end_user_id: str) -> str:
    """SQL: the lexeme by which all chunks of an end user are found in the index of the words.

    No text has it, because no word has a `@`. `world_id`, `end_user_id`: expressions.
    """
    return f"('@' || {world_id} || '@' || {end_user_id})"


# $6, $7: words for the stemmers, and other forms, of each term. $8: the configurations of the end user's
# chunks. $9: how many chunks the end user has. A form is found if its lexeme and the end user's are in one
# chunk; the index jumps from chunk to chunk of the rarer lexeme. A term that is in fewer chunks has more
# weight (the inverse document frequency). A word of more than 500 chunks counts as one of 500, so not all of
# its chunks are read. World and end user are tested on the rows that the index has found. With IS TRUE,
# PostgreSQL does not look up the end user in another index instead, which would read all rows of a large end
# user.
BY_WORDS = f"""
WITH terms AS MATERIALIZED (
    SELECT t.place,
        ('''' || {end_user_lexeme("$1::bigint", "$2")} || ''' & (' || t.forms || ')')::tsquery AS query
    FROM (
        SELECT g.place, concat_ws(' | ', (
            SELECT string_agg(DISTINCT quote_literal(l.lexeme), ' | ')
            FROM unnest($8::text[]) AS s (configuration)
            CROSS JOIN LATERAL unnest(tsvector_to_array(to_tsvector(s.configuration::regconfig, g.words)))
                AS l (lexeme)
        ), nullif(g.query, '')) AS forms
        FROM unnest($6::text[], $7::text[]) WITH ORDINALITY AS g (words, query, place)
    ) t WHERE t.forms <> ''
), hits AS MATERIALIZED (
    SELECT t.place, h.id FROM terms t CROSS JOIN LATERAL (
        SELECT c.id FROM search_chunks c
        WHERE c.words @@ t.query AND (c.world_id = $1 AND c.end_user_id = $2) IS TRUE
        AND {FILTERS}
        LIMIT 500
    ) h
), weights AS MATERIALIZED (
    SELECT t.place, ln(1 + greatest($9::float8, count(h.id)) / greatest(count(h.id), 0.5)) AS weight
    FROM terms t LEFT JOIN hits h ON h.place = t.place GROUP BY t.place
)
SELECT h.id, sum(w.weight) / (SELECT sum(o.weight) FROM weights o) AS share
FROM hits h JOIN weights w ON w.place = h.place
GROUP BY h.id ORDER BY sum(w.weight) DESC, h.id LIMIT 50
"""


async def find_by_words(
    connection: Connection,
    owner: tuple[int, str],
    filters: SearchFilters,
    extent: Sequence[ExtentRow],
    terms: Sequence[Term],
) -> list[WordsRow]:
    """At most 50 chunks with words of the query, those with the greatest share first.

    `owner`: world and end user. `extent`: of the end user.
    """
    return await fetch_rows(
        connection,
        WordsRow,
        BY_WORDS,
        *owner,
        filters.recording_ids,
        filters.after,
        filters.before,
        [term.words for term in terms],
        [term.query for term in terms],
        [row.configuration for row in extent],
        float(sum(row.chunks for row in extent)),
    )
