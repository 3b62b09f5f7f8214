"""Pieces of statements that work on many rows at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    """The columns of at least one row: the arrays for `unnest`."""
    return [list(column) for column in zip(*rows, strict=True)]


def deleting_some(table: str, locked: str) -> str:
    """SQL that deletes the rows of `table` that the SELECT `locked` locks, and gives their number.

    `locked` selects their `ctid`, with a limit. `$1` is the world. The number counts the locked rows: a row
    that another transaction changed meanwhile is not deleted, and the next batch finds its new version.
    """
    return f"""
WITH locked AS MATERIALIZED (
    {locked}
), gone AS (
    DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM locked)) AND world_id = $1
)
SELECT count(*) FROM locked
"""  # noqa: S608 - names and conditions of our own SQL
