"""The file name of a downloaded media."""

from __future__ import annotations

import re

from lapel.foundation.core.file_names import clean
from lapel.foundation.storage.object_names import extension

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}\Z")


def file_name(asked: str | None, title: str | None, fallback: str, content_type: str) -> str:
    """`asked` is the file name that a client asked for (its own extension stays), `title` the recording's
    name; `fallback` is used when neither has a usable character."""
    stem = clean(asked or title or "") or fallback
    return stem if asked and _SUFFIX.search(stem) else f"{stem}.{extension(content_type)}"
