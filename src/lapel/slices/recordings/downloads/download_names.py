"""The file name of a downloaded media."""

from __future__ import annotations

import re

from lapel.foundation.core.file_names import clean
from lapel.foundation.storage.object_names import extension

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}\Z")


def file_name(asked: str | None, title: str | None, fallback: str, content_type: str) -> str:
    """The file name of a download, with the extension of its content type.

    `asked` is the name in the request; if it has an extension, this extension stays. `title` is the
    recording's name. `fallback` replaces a name without a usable character.
    """
    stem = clean(asked or title or "") or fallback
    return stem if asked and _SUFFIX.search(stem) else f"{stem}.{extension(content_type)}"
