"""A CSV table, for spreadsheets."""

from __future__ import annotations

import codecs
import csv
import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lapel.slices.transcription.exports.content import Document

# Places at which a spreadsheet may see the start of a formula: the start of a cell, and after a semicolon.
# The semicolon separates cells in countries where the comma is the decimal sign. Between such a place and the
# formula, there may be characters that a program trims.
_FORMULA = re.compile(r"(?:^|(?<=;))(?=[\s'\"\u200b-\u200f\u2060-\u2064]*[=+\-@＝＋－＠])")
_COLUMNS = ("start", "end", "speaker", "confidence", "text")


def csv_table(document: Document) -> Iterator[bytes]:
    """A header, then a row for each segment, with times in seconds; RFC 4180.

    The file starts with a byte order mark. Without the mark, Excel would not read the file as UTF-8, and
    would garble every name with an accent. Programs can use `json` and `ndjson` instead, or read this file
    with the encoding `utf-8-sig`.
    """
    yield codecs.BOM_UTF8 + _row(_COLUMNS)
    for segment in document.segments:
        yield _row(
            (
                f"{segment.start:.3f}",
                f"{segment.end:.3f}",
                defused(document.speaker(segment) or ""),
                f"{segment.confidence:.4f}",
                defused(segment.text),
            )
        )


def _row(cells: tuple[str, ...]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()


def defused(text: str) -> str:
    """The text with an apostrophe before anything that a spreadsheet could take for a formula.

    Source: "CSV Injection" by OWASP.
    """
    return _FORMULA.sub("'", text)
