"""`Content-Disposition` of a download: a file name that any client can save (RFC 6266, RFC 5987)."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal
from urllib.parse import quote

from lapel.foundation.storage.keys import extension

Disposition = Literal["inline", "attachment"]

# What some file system forbids or some shell trips over, and what would end the quoted string.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f"*/:<>?\\|%;\u2028\u2029]+')
_SPACES = re.compile(r"\s+")
# Windows reads these as devices, whatever follows the first dot.
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?\Z")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}\Z")
_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _.-]{0,98}[A-Za-z0-9_-])?\Z")
# Format, surrogate, private and unassigned characters: some turn text around, so that
# `exe.opus` would be shown as `supo.exe`.
_INVISIBLE = frozenset({"Cf", "Cs", "Co", "Cn"})
_MAX_CHARACTERS = 100
_ATTRIBUTE_CHARACTERS = "!#$&+-.^_`|~"


def content_disposition(
    disposition: Disposition, asked: str | None, title: str | None, fallback: str, content_type: str
) -> str:
    """The header's value.

    `asked` is the file name that a client asked for (its own extension stays), `title` the
    recording's name; `fallback`, plain ASCII, stands in when nothing usable is left of them.
    """
    suffix = f".{extension(content_type)}"
    stem = _clean(asked or title or "") or fallback
    name = stem if asked and _SUFFIX.search(stem) else stem + suffix
    if name.isascii():
        return f'{disposition}; filename="{name}"'
    # Old clients read the ASCII form only; all others prefer `filename*`.
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = _UNSAFE.sub("_", plain)
    if not plain.rpartition(".")[0].strip(" ._-"):
        plain = fallback + suffix
    return f"{disposition}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_ATTRIBUTE_CHARACTERS)}"


def _clean(text: str) -> str:
    """The text without what is unsafe in a file name, at most 100 characters."""
    if not _PLAIN.match(text):
        text = unicodedata.normalize("NFKC", text[:1000])
        text = "".join(each for each in text if unicodedata.category(each) not in _INVISIBLE)
        text = _SPACES.sub(" ", _UNSAFE.sub("_", text)).strip(" .")[:_MAX_CHARACTERS].strip(" .")
    return f"_{text}" if _DEVICES.match(text) else text
