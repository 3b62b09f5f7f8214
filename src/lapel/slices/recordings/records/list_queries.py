"""The SQL that lists recordings with their media."""

from __future__ import annotations

from itertools import combinations, groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_rows
from lapel.foundation.http.input.pagination import MOST_ROWS, PLANNED_ANEW
from lapel.slices.recordings.access import PRESENT
from lapel.slices.recordings.records.record_queries import COLUMNS, MEDIA_COLUMNS, SHOWN, WITH_MEDIA
from lapel.slices.recordings.rows import RecordingRow, RecordingRows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow

_FILTERS = {
    "end_user_id": "r.end_user_id = ${0}",
    "device_id": "r.device_id = ${0}",
    "status": "r.status = ${0}",
    "recorded_after": "r.recorded_at >= ${0}",
    "recorded_before": "r.recorded_at < ${0}",
}
# The planner does not know that `created_at` and `recorded_at` are close. For a short range it would read and
# sort all of it along `recordings_by_time`, if it could. The two expressions differ, because it takes two
# limits of one expression for a short range, expects fewer rows than a page, and again reads and sorts all.
_FILTERS_OF_WALK = _FILTERS | {
    "recorded_after": "r.recorded_at + interval '0' >= ${0}",
    "recorded_before": "r.recorded_at - interval '0' < ${0}",
}
_FIRST_FILTER = 6
_BY_TIME = ("recorded_after", "recorded_before")

# The most rows of a statement: 101 recordings may have 500 media each. The JSON of a row has more than 200
# bytes, so these rows exceed the 1 MiB of a page's JSON, even without those of the last recording.
_ROWS_READ = 6000
_NEWEST_FIRST = "ORDER BY r.created_at DESC, r.id DESC"
_OF_PAGE = f"""r {WITH_MEDIA}
ORDER BY r.created_at DESC, r.id DESC, m.created_at, m.id LIMIT {_ROWS_READ}"""


def _filters(names: tuple[str, ...], conditions_of: Mapping[str, str] = _FILTERS) -> str:
    """The conditions of all filters, as SQL that begins with AND."""
    conditions = "".join(
        f" AND {conditions_of[name].format(number)}" for number, name in enumerate(names, _FIRST_FILTER)
    )
    return conditions + f" AND {PLANNED_ANEW}" * bool(names)


_ROWS = f"""
    SELECT r.world_id, {COLUMNS} FROM recordings r
    WHERE r.world_id = $1 AND (r.created_at, r.id) < ({{created_before}}, $3){{filters}} AND {PRESENT}
    {_NEWEST_FIRST} {{limit}}"""


def _rows(filters: str, limit: str, created_before: str = "$2") -> str:
    """The recordings before the page's place, newest first. All arguments are SQL."""
    return _ROWS.format(filters=filters, limit=limit, created_before=created_before)


def _page(rows: str, order: str = "") -> str:
    """A page of `rows` with its media. Both arguments are SQL."""
    return f"""
SELECT {SHOWN}, {MEDIA_COLUMNS} FROM (
    SELECT * FROM ({rows}
    ) r {order} LIMIT $4 OFFSET $5
) {_OF_PAGE}
"""


def _list(names: tuple[str, ...], limit: str) -> str:
    """The statement for one set of filters. Unlike a statement with `OR`, its prepared plan uses an index.

    `limit`: of the recordings before $4 and $5 are applied, as SQL.
    """
    return _page(_rows(_filters(names), limit))


# Most recordings are created within minutes of `recorded_at`. A list by time walks, along the index of its
# order, the recordings that were created from ten minutes before its range to ten minutes after it. The
# others are in indexes of their own: `recordings_created_later`, `…_earlier`, `…_days_earlier`, and those of
# days later in `recordings_of_another_day`.
_NEAR, _FAR = "interval '10 minutes'", "interval '24 hours'"
_LATER, _EARLIER = "r.created_at - r.recorded_at", "r.recorded_at - r.created_at"
_UNTIL_PAGE = "LIMIT $4::bigint + $5::bigint"


def _list_by_time(names: tuple[str, ...]) -> str:
    """The statement for a set of filters with one or both of `_BY_TIME`."""
    times = {name: f"${number}::timestamptz" for number, name in enumerate(names, _FIRST_FILTER)}
    after, before = (times.get(name) for name in _BY_TIME)
    near, end, others = "", None, list[str]()
    if after is not None:
        start = f"{after} - {_NEAR}"
        near += f" AND r.created_at >= {start}"
        earlier = f" AND r.created_at < {start} AND {_EARLIER} >"
        hours = f"{earlier} {_NEAR} AND {_EARLIER} <= {_FAR} AND r.created_at >= {after} - {_FAR}"
        others += [_walk(names, hours, start), _walk(names, f"{earlier} {_FAR}", start)]
    if before is not None:
        end = f"{before} + {_NEAR}"
        near += f" AND r.created_at < {end}"
        later = f" AND r.created_at >= {end}"
        hours = f"{later} AND {_LATER} > {_NEAR} AND {_LATER} <= {_FAR}"
        days = f"{_filters(names)}{later} AND greatest({_LATER}, {_EARLIER}) > {_FAR}"
        others += [_walk(names, hours, f"{before} + {_FAR}"), _rows(days, _UNTIL_PAGE)]
    walks = (_walk(names, near, end), *others)
    return _page(" UNION ALL ".join(f"({each})" for each in walks), _NEWEST_FIRST)


def _walk(names: tuple[str, ...], conditions: str, until: str | None) -> str:
    """The newest recordings of a list that also meet `conditions`, along an index of its order.

    `until`: they were created before.
    """
    filters = _filters(names, _FILTERS_OF_WALK)
    # `least` makes one upper bound. With two, PostgreSQL may begin to read at the later one.
    return _rows(filters + conditions, _UNTIL_PAGE, "$2" if until is None else f"least($2, {until})")


# PostgreSQL plans each execution of these statements anew: with a filter because of PLANNED_ANEW, and without
# one because it does not know $4 and $5 before.
LISTS: dict[tuple[str, ...], str] = {
    names: _list(names, "") if set(_BY_TIME).isdisjoint(names) else _list_by_time(names)
    for count in range(len(_FILTERS) + 1)
    for names in combinations(_FILTERS, count)
}
# The list without filters for an offset of 0: the limit, a number, is that of the longest page. PostgreSQL
# plans it once.
FROM_START = _list((), f"LIMIT {MOST_ROWS + 1}")


async def list_page(
    connection: Connection, world_id: int, asked: PageWindow, filters: Mapping[str, object | None]
) -> list[RecordingRows]:
    """The recordings of one page with their media, and one more recording if another page follows.

    They are fewer if they have more media than `_ROWS_READ`, but then still more than a page's JSON can hold.
    `filters` maps a filter's name to its value; None: no filter.
    """
    given = {name: value for name in _FILTERS if (value := filters.get(name)) is not None}
    names = tuple(given)
    window = (world_id, asked.before_time, asked.before_id, asked.fetch, asked.offset, *given.values())
    if asked.offset == 0 and not names:
        return _grouped(await fetch_rows(connection, RecordingRow, FROM_START, *window))
    return _grouped(await fetch_rows(connection, RecordingRow, LISTS[names], *window))


def _grouped(rows: list[RecordingRow]) -> list[RecordingRows]:
    found = [RecordingRows(list(own)) for _, own in groupby(rows, attrgetter("id"))]
    if len(rows) == _ROWS_READ:  # the last recording may have more media
        found.pop()
    return found
