"""Pages of lists (section 4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.strict.shapes import Shape, array, boolean, null_or, record, text

MAX_PAGE_BYTES = 2**20


def page(row: Shape, limit: int, *, newest_first: bool = True) -> Shape:
    """A page: exactly the envelope, at most `limit` rows, in order, each id once."""
    envelope = record(
        {
            "data": array(row, most=limit),
            "has_more": boolean,
            "next_cursor": null_or(text(1, 2048, r"[!-~]+")),
        }
    )

    def shape(value: Any, at: str) -> Iterator[str]:
        yield from envelope(value, at)
        if not isinstance(value, dict) or not isinstance(value.get("data"), list):
            return
        if (value.get("next_cursor") is not None) != value.get("has_more"):
            yield f"{at}: next_cursor and has_more disagree"
        if value.get("has_more") and not value["data"]:
            yield f"{at}: more rows follow a page without a row"
        rows = [each for each in value["data"] if isinstance(each, dict)]
        ids = [each["id"] for each in rows if "id" in each]
        if len(ids) != len(set(ids)):
            yield f"{at}: an id is repeated"
        times = [each["created_at"] for each in rows if isinstance(each.get("created_at"), str)]
        if times != sorted(times, reverse=newest_first):
            yield f"{at}: not in order"

    return shape


def of_page_size(body: bytes, rows: int) -> Iterator[str]:
    """A page of more than one row is at most 1 MiB of JSON."""
    if rows > 1 and len(body) > MAX_PAGE_BYTES:
        yield f"$: a page of {rows} rows takes {len(body)} bytes"
