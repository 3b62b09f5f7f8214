"""The file name of an export."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from lapel.transcription.exports.content import Document
    from lapel.transcription.exports.formats import Format

_PUNCTUATION = frozenset(" -_.,()+&'")
_RUNS = re.compile(r"([ _])[ _]+")
# Windows reads these as devices, whatever follows the first dot.
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?\Z")
# File systems take 255 bytes; a character has up to four.
_MAX_CHARACTERS = 60


def file_name(document: Document, form: Format) -> str:
    """The title as a name that every file system takes, at most 255 bytes: `Weekly sync.srt`."""
    title = unicodedata.normalize("NFKC", document.title[:1000])
    stem = "".join(each if _allowed(each) else "_" for each in title)
    stem = _RUNS.sub(r"\1", stem).lstrip(" ._-")[:_MAX_CHARACTERS].rstrip(" ._") or "transcript"
    if _DEVICES.match(stem):
        stem = f"_{stem}"
    return f"{stem}.{form.extension}"


def content_disposition(document: Document, form: Format) -> str:
    """The header that makes a browser save the file under that name (RFC 6266); ASCII."""
    name = file_name(document, form)
    if name.isascii():
        return f'attachment; filename="{name}"'
    # Old clients read the ASCII form only; all others prefer `filename*`.
    stem = name.removesuffix(f".{form.extension}")
    plain = (
        unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().strip(" ._") or "transcript"
    )
    return f"attachment; filename=\"{plain}.{form.extension}\"; filename*=UTF-8''{quote(name, safe='')}"


def _allowed(character: str) -> bool:
    return character in _PUNCTUATION or unicodedata.category(character)[0] in "LMN"
