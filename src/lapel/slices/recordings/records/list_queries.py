"""The SQL that lists recordings with their media."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations, groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_rows
from lapel.foundation.http.input.pagination import MOST_ROWS
from lapel.slices.recordings.access import PRESENT
from lapel.slices.recordings.records.record_queries import COLUMNS, MEDIA_COLUMNS, SHOWN, WITH_MEDIA
from lapel.slices.recordings.rows import RecordingRow, RecordingRows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow

_FILTERS = {
    "end_user_id": "r.end_user_id = ${}",
    "device_id": "r.device_id = ${}",
    "status": "r.status = ${}",
    "recorded_after": "r.recorded_at >= ${}",
    "recorded_before": "r.recorded_at < ${}",
}
_FIRST_FILTER = 6
# A list by time always has both limits: a prepared plan takes a range without an end for a third of all rows.
_BY_TIME = {
    "recorded_after": datetime.min.replace(tzinfo=UTC),
    "recorded_before": datetime.max.replace(tzinfo=UTC),
}

# The most rows of a statement: 101 recordings may have 500 media each. The JSON of a row has more than 200
# bytes, so these rows exceed the 1 MiB of a page's JSON, even without those of the last recording.
_ROWS_READ = 6000
_OF_PAGE = f"""r {WITH_MEDIA}
ORDER BY r.created_at DESC, r.id DESC, m.created_at, m.id LIMIT {_ROWS_READ}"""


def _conditions(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each filter's name and its condition, with the number of its parameter."""
    return [(name, _FILTERS[name].format(number)) for number, name in enumerate(names, _FIRST_FILTER)]


def _list(names: tuple[str, ...], most: str) -> str:
    """The statement for one set of filters. Unlike a statement with `OR`, its prepared plan uses an index.

    `most`: the limit of the recordings before $4 and $5 are applied, as SQL.
    """
    filters = "".join(f" AND {condition}" for _, condition in _conditions(names))
    return f"""
SELECT {SHOWN}, {MEDIA_COLUMNS} FROM (
    SELECT * FROM (
        SELECT r.world_id, {COLUMNS} FROM recordings r
        WHERE r.world_id = $1 AND (r.created_at, r.id) < ($2, $3){filters} AND {PRESENT}
        ORDER BY r.created_at DESC, r.id DESC {most}
    ) r LIMIT $4 OFFSET $5
) {_OF_PAGE}
"""


# The lists with any offset. PostgreSQL plans each execution anew, because it does not know $4 and $5 before.
SKIPPING: dict[tuple[str, ...], str] = {
    names: _list(names, "")
    for count in range(len(_FILTERS) + 1)
    for names in combinations(_FILTERS, count)
    if len(_BY_TIME.keys() & names) != 1
}
# The same with an offset of 0: the limit, a number, is that of the longest page. PostgreSQL plans them once.
LISTS: dict[tuple[str, ...], str] = {
    names: _list(names, f"LIMIT {MOST_ROWS + 1}") for names in SKIPPING if not _BY_TIME.keys() & names
}
# The lists by time, of the newest recordings only. A list is in the order of creation, and no index has both
# this order and `recorded_at`. So a statement of `SKIPPING` sorts all recordings of a range, although the
# newest recordings usually fill a page.
_NEWEST_READ = 500


def _newest(names: tuple[str, ...]) -> str:
    """The statement of `_list` that reads the newest recordings before the page's place, and no others."""
    conditions = _conditions(names)
    indexed = "".join(f" AND {each}" for name, each in conditions if name not in _BY_TIME)
    of_time = " AND ".join(each for name, each in conditions if name in _BY_TIME)
    return f"""
SELECT {SHOWN}, {MEDIA_COLUMNS} FROM (
    SELECT * FROM (
        SELECT r.world_id, {COLUMNS} FROM recordings r
        WHERE r.world_id = $1 AND (r.created_at, r.id) < ($2, $3){indexed} AND {PRESENT}
        ORDER BY r.created_at DESC, r.id DESC LIMIT {_NEWEST_READ}
    ) r WHERE {of_time} ORDER BY r.created_at DESC, r.id DESC LIMIT $4 OFFSET $5
) {_OF_PAGE}
"""


NEWEST: dict[tuple[str, ...], str] = {names: _newest(names) for names in SKIPPING if _BY_TIME.keys() & names}


async def list_page(
    connection: Connection, world_id: int, asked: PageWindow, filters: Mapping[str, object | None]
) -> list[RecordingRows]:
    """The recordings of one page with their media, and one more recording if another page follows.

    They are fewer if they have more media than `_ROWS_READ`, but then still more than a page's JSON can hold.
    `filters` maps a filter's name to its value; None: no filter.
    """
    given = {name: value for name, value in filters.items() if value is not None}
    if _BY_TIME.keys() & given:
        given = _BY_TIME | given
    given = {name: given[name] for name in _FILTERS if name in given}
    names = tuple(given)
    window = (world_id, asked.before_time, asked.before_id, asked.fetch, asked.offset, *given.values())
    if names in NEWEST:
        found = _grouped(await fetch_rows(connection, RecordingRow, NEWEST[names], *window))
        if len(found) == asked.fetch:
            return found
    if asked.offset == 0 and names in LISTS:
        return _grouped(await fetch_rows(connection, RecordingRow, LISTS[names], *window))
    return _grouped(await fetch_rows(connection, RecordingRow, SKIPPING[names], *window))


def _grouped(rows: list[RecordingRow]) -> list[RecordingRows]:
    found = [RecordingRows(list(own)) for _, own in groupby(rows, attrgetter("id"))]
    if len(rows) == _ROWS_READ:  # the last recording may have more media
        found.pop()
    return found
