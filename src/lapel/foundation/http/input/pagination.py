"""Lists, newest first by (`created_at`, id), with a cursor that never skips or repeats a row.

The cursor contains the full-precision time and the id of the last row shown. Its checksum also covers the
list's name, so another list refuses the cursor. The method is keyset pagination
(https://use-the-index-luke.com/no-offset). SQL of every list:

    WHERE world_id = $1 AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC
    LIMIT $4 OFFSET $5

with `window.before_time`, `window.before_id`, `window.fetch`, `window.offset`; and for an offset of 0, if
only one index fits the list, the statement that `from_start` makes of it. A list with a filter that has an
index needs `PLANNED_ANEW`, unless PostgreSQL takes this index for every world
(`tests/contract/test_list_plans.py` shows it).

A list whose rows have numbers, oldest first, has cursors with the number of the last row shown: `place_page`
and `read_place`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Protocol, TypeVar
from zlib import crc32

import msgspec

from lapel.foundation.core.clock import EPOCH
from lapel.foundation.core.errors import InvalidRequest

# The position before the newest row: a time after every row, and an id after every id.
BEFORE_ALL = (datetime(9999, 12, 30, tzinfo=UTC), "~")
# The rows' share of a page's 1 MiB of JSON; the rest is for the cursor and the other fields.
PAGE_BYTES = 2**20 - 4096
MOST_ROWS = 100
_encode = msgspec.json.Encoder().encode
_ROW_ID = re.compile(r"[A-Za-z0-9_]{1,128}\Z")
_PLACE = re.compile(r"[0-9]{1,18}\Z")
_WINDOW = re.compile(r"\sLIMIT (\$[0-9]) OFFSET (\$[0-9])\s*\Z")
# A condition that is always true, for a statement whose $1 is the world. With the values of the parameters,
# the planner leaves it out. Without them it would cost so much that PostgreSQL plans each execution anew.
#
# For a statement with a filter that has an index. A plan for any world is that for the average world. If the
# average world has few rows, all its indexes cost the same, and in a large world PostgreSQL could read all
# rows along another index.
PLANNED_ANEW = "($1::bigint IS NOT NULL OR (SELECT count(*) FROM generate_series(1, 1000000000)) = 0)"
_FROM_START = """
SELECT * FROM ({rows} LIMIT {most}) listed
ORDER BY created_at DESC, id DESC LIMIT {fetch}::bigint + {offset}::bigint
"""

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R", bound="Listed")
P = TypeVar("P", bound="Placed")


class Listed(Protocol):
    """A row of a list."""

    @property
    def id(self) -> str:
        """Orders rows with the same time."""
        ...

    @property
    def created_at(self) -> datetime:
        """Orders the list."""
        ...


class Placed(Protocol):
    """A row of a list whose rows have numbers."""

    @property
    def place(self) -> int:
        """Orders the list; from 1."""
        ...


Cursor = Annotated[str, msgspec.Meta(max_length=2048, description="`next_cursor` of the previous page.")]
Offset = Annotated[int, msgspec.Meta(ge=0, le=1_000_000, description="Rows to skip. Prefer `cursor`.")]


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of every list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_ROWS, description="The most rows of a page.")] = 20
    cursor: Cursor = ""
    offset: Offset = 0


@dataclass(frozen=True, slots=True)
class PageWindow:
    """The rows of a page. `fetch` is one more than the page shows, to detect a next page."""

    list_name: str
    before_time: datetime
    before_id: str
    limit: int
    offset: int

    @property
    def fetch(self) -> int:
        """The number of rows to read."""
        return self.limit + 1


def from_start(statement: str) -> str:
    """The statement of a list for an offset of 0. `statement` ends with `LIMIT $4 OFFSET $5` or the like.

    PostgreSQL plans it once, and `statement` in each execution: a plan that must hold for any limit and
    offset is taken to skip a tenth of all rows and to read another tenth. Here a number limits the rows
    before, that of the longest page, and the offset is added to the limit, because it skips no rows.

    Not for a statement with a filter that has an index: that one needs `PLANNED_ANEW`.
    """
    rows, fetch, offset, _ = _WINDOW.split(statement)
    return _FROM_START.format(rows=rows, most=MOST_ROWS + 1, fetch=fetch, offset=offset)


def window(query: PageQuery, list_name: str) -> PageWindow:
    """The rows that a list's query requests. Raises InvalidRequest for a cursor of another list."""
    if not query.cursor:
        return PageWindow(list_name, *BEFORE_ALL, query.limit, query.offset)
    moment, row_id = read_cursor(query.cursor, list_name)
    return PageWindow(list_name, moment, row_id, query.limit, query.offset)


def page(
    rows: Sequence[R],
    asked: PageWindow,
    build: Callable[[R], T],
    *,
    cut: bool = False,
) -> tuple[list[T], bool, str | None]:
    """(`data`, `has_more`, `next_cursor`) of a page.

    A page ends before the row that would make its JSON exceed `PAGE_BYTES`, but has at least one row. `cut`:
    more rows follow, although `rows` are fewer than the page requested.
    """
    data = _fitting(rows[: asked.limit], build)
    has_more = cut or len(rows) > len(data)
    if not has_more:
        return data, False, None
    last = rows[len(data) - 1]
    return data, True, write_cursor(asked.list_name, last.created_at, last.id)


def place_page(
    rows: Sequence[P], limit: int, list_name: str, build: Callable[[P], T]
) -> tuple[list[T], bool, str | None]:
    """(`data`, `has_more`, `next_cursor`) of a page of a list whose rows have numbers, as `page` makes it.

    `rows`: one more than `limit`, if there are so many.
    """
    data = _fitting(rows[:limit], build)
    if len(rows) == len(data):
        return data, False, None
    return data, True, _sealed(list_name, str(rows[len(data) - 1].place))


def _fitting(rows: Sequence[S], build: Callable[[S], T]) -> list[T]:
    data = [build(row) for row in rows]
    if len(_encode(data)) <= PAGE_BYTES:  # nearly always
        return data
    left = PAGE_BYTES
    for number, item in enumerate(data):
        left -= len(_encode(item)) + 1
        if number and left < 0:
            return data[:number]
    return data


def write_cursor(list_name: str, created_at: datetime, row_id: str) -> str:
    """A cursor with the time and id of the last row shown: opaque, printable, without spaces.

    A checksum detects damaged cursors and those of other lists.
    """
    microseconds = (created_at - EPOCH) // timedelta(microseconds=1)
    return _sealed(list_name, f"{microseconds}.{row_id}")


def read_cursor(cursor: str, list_name: str) -> tuple[datetime, str]:
    """The time and id of a cursor. Raises InvalidRequest for a cursor of another list."""
    microseconds, _, row_id = _opened(cursor, list_name).partition(".")
    # Clients can compute the checksum too, so check that the text is an id before it goes to the database.
    if not _ROW_ID.match(row_id):
        raise _foreign_cursor()
    try:
        return EPOCH + timedelta(microseconds=int(microseconds)), row_id
    except (ValueError, OverflowError) as error:
        raise _foreign_cursor() from error


def read_place(cursor: str, list_name: str) -> int:
    """The number of the last row shown, in a list whose rows have numbers; 0 without a cursor.

    Raises InvalidRequest for a cursor of another list.
    """
    if not cursor:
        return 0
    place = _opened(cursor, list_name)
    if not _PLACE.match(place):
        raise _foreign_cursor()
    return int(place)


def _sealed(list_name: str, text: str) -> str:
    return base64.urlsafe_b64encode(f"{text}.{_checksum(list_name, text)}".encode()).decode().rstrip("=")


def _opened(cursor: str, list_name: str) -> str:
    """The text of a cursor. Raises InvalidRequest for a cursor of another list."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        text, _, checksum = (
            base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").rpartition(".")
        )
    except (ValueError, binascii.Error) as error:
        raise _foreign_cursor() from error
    if _checksum(list_name, text) != checksum:
        raise _foreign_cursor()
    return text


def _checksum(list_name: str, text: str) -> str:
    return f"{crc32(f'{list_name}:{text}'.encode()):08x}"


def _foreign_cursor() -> InvalidRequest:
    return InvalidRequest(
        "This list did not issue this cursor. Pass `next_cursor` of the previous page unchanged.",
        param="cursor",
    )
