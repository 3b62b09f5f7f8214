"""The formats that a transcript can be exported to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from lapel.slices.transcription.exports import csv_format, docx, html, json_formats, subtitles, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lapel.slices.transcription.exports.content import Document

FormatName = Literal["txt", "md", "srt", "vtt", "csv", "json", "ndjson", "html", "docx"]


@dataclass(frozen=True, slots=True)
class Format:
    """One format. `name`: also the file's extension. `media_type`: the content type of the answer.

    `has_words`: whether the file depends on the words of the segments.
    """

    name: FormatName
    media_type: str
    write: Callable[[Document], Iterator[bytes]]
    has_words: bool = False

    @property
    def extension(self) -> str:
        """The file's extension, without the dot."""
        return self.name

    def render(self, document: Document) -> bytes:
        """The whole file. This may take seconds, so it must not run in the event loop."""
        return b"".join(self.pieces(document))

    def pieces(self, document: Document) -> Iterator[bytes]:
        """The file in pieces, each made on demand from a few segments."""
        return self.write(document.tidy())


_DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

FORMATS: Final[dict[FormatName, Format]] = {
    each.name: each
    for each in (
        Format("txt", "text/plain; charset=utf-8", text.txt),
        Format("md", "text/markdown; charset=utf-8", text.md),
        Format("srt", "application/x-subrip; charset=utf-8", subtitles.srt, has_words=True),
        Format("vtt", "text/vtt; charset=utf-8", subtitles.vtt, has_words=True),
        Format("csv", "text/csv; charset=utf-8; header=present", csv_format.csv_table),
        # JSON is UTF-8 by definition and has no such parameter.
        Format("json", "application/json", json_formats.json, has_words=True),
        Format("ndjson", "application/x-ndjson", json_formats.ndjson, has_words=True),
        Format("html", "text/html; charset=utf-8", html.html),
        Format("docx", _DOCX, docx.docx),
    )
}
