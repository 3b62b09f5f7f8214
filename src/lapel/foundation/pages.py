"""Lists: newest first by (`created_at`, id), a cursor that never skips or repeats.

The cursor carries the full-precision time and the id of the last row shown. SQL of every list:

    WHERE world_id = $1 AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC
    LIMIT $4 OFFSET $5

with `window.before_time`, `window.before_id`, `window.fetch`, `window.offset`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, TypeVar
from zlib import crc32

import msgspec

from lapel.foundation.clock import EPOCH
from lapel.foundation.errors import InvalidRequest

if TYPE_CHECKING:
    import asyncpg

# Before the first page: a moment after every row, and an id after every id.
_END_OF_TIME = datetime(9999, 12, 30, tzinfo=UTC)
_LAST_ID = "~"
_ROW_ID = re.compile(r"[A-Za-z0-9_]{1,128}\Z")

T = TypeVar("T")


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What every list takes."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=100, description="Rows per page.")] = 20
    cursor: Annotated[str, msgspec.Meta(max_length=2048, description="`next_cursor` of the page before.")] = (
        ""
    )
    offset: Annotated[
        int, msgspec.Meta(ge=0, le=1_000_000, description="Rows to skip; older clients use it.")
    ] = 0


@dataclass(frozen=True, slots=True)
class Window:
    """Which rows a page asks for; `fetch` is one more than it shows, to know of a next page."""

    before_time: datetime
    before_id: str
    limit: int
    offset: int

    @property
    def fetch(self) -> int:
        """How many rows to read."""
        return self.limit + 1


def window(query: PageQuery) -> Window:
    """The window a query asks for. Raises InvalidRequest for a cursor that is not ours."""
    if not query.cursor:
        return Window(_END_OF_TIME, _LAST_ID, query.limit, query.offset)
    moment, row_id = _read_cursor(query.cursor)
    return Window(moment, row_id, query.limit, query.offset)


def page(
    rows: Sequence[asyncpg.Record], asked: Window, build: Callable[[asyncpg.Record], T]
) -> tuple[list[T], bool, str | None]:
    """(`data`, `has_more`, `next_cursor`) of a page; rows need `created_at` and `id`."""
    shown = rows[: asked.limit]
    has_more = len(rows) > asked.limit
    cursor = write_cursor(shown[-1]["created_at"], shown[-1]["id"]) if has_more else None
    return [build(row) for row in shown], has_more, cursor


def write_cursor(created_at: datetime, row_id: str) -> str:
    """Opaque, printable, without spaces; carries a checksum so that a made-up one is refused."""
    microseconds = (created_at - EPOCH) // timedelta(microseconds=1)
    text = f"{microseconds}.{row_id}"
    return base64.urlsafe_b64encode(f"{text}.{crc32(text.encode()):08x}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    refused = InvalidRequest(
        "This cursor was not made by this list. Pass `next_cursor` of the page before, unchanged.",
        param="cursor",
    )
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        text, _, checksum = (
            base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").rpartition(".")
        )
        if f"{crc32(text.encode()):08x}" != checksum:
            raise refused
        microseconds, _, row_id = text.partition(".")
        # Anybody can compute a checksum: what the database is given must be an id.
        if not _ROW_ID.match(row_id):
            raise refused
        return EPOCH + timedelta(microseconds=int(microseconds)), row_id
    except (ValueError, binascii.Error, OverflowError) as error:
        raise refused from error
