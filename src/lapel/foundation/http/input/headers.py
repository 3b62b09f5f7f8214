"""Checks of a request's headers that are the same for every operation."""

from __future__ import annotations

import re
from datetime import date

from lapel.foundation.core.errors import InvalidRequest, UnsupportedMediaType

_VERSION = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
# RFC 9110, section 8.3.1; what follows the semicolon does not matter for JSON.
_JSON = re.compile(rb"application/(?:[!#$%&'*+.^_`|~0-9a-z-]+\+)?json[ \t]*(?:;|\Z)", re.IGNORECASE)
_ONCE = frozenset((b"authorization", b"bota-version", b"content-type", b"idempotency-key", b"lapel-strict"))


def refuse_repeated(headers: list[tuple[bytes, bytes]]) -> None:
    """Raises InvalidRequest when a header that may appear once is repeated.

    A proxy in front of the server may have used the other value.
    """
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in _ONCE and name in seen:
            title = name.decode().title()
            raise InvalidRequest(f"A request may have one `{title}` header.", param=title)
        seen.add(name)


def check_content_type(value: bytes | None) -> None:
    """Raises InvalidRequest when the header cannot be a media type, and UnsupportedMediaType when the type is
    not JSON; a missing header counts as JSON."""
    if value is None or value == b"application/json":
        return
    refuse_other_characters(value)
    if not _JSON.match(value):
        raise UnsupportedMediaType("Send the body as `Content-Type: application/json`.")


def refuse_other_characters(content_type: bytes) -> None:
    """Raises InvalidRequest when a `Content-Type` has a character that is not ASCII, as a no-break space."""
    if not content_type.isascii():
        raise InvalidRequest("A `Content-Type` has only characters of ASCII.", param="Content-Type")


def check_version(value: bytes | None) -> None:
    """Raises InvalidRequest when the `Bota-Version` is not a date; the header may be missing."""
    if value is not None and not is_date(value):
        raise InvalidRequest("`Bota-Version` is a date: YYYY-MM-DD.", param="Bota-Version")


def wants_strictness(value: bytes | None) -> bool:
    """Whether to refuse unknown fields of the body.

    Raises InvalidRequest for a `Lapel-Strict` that is neither `true` nor `false`.
    """
    if value is None:
        return False
    word = value.strip().lower()
    if word not in (b"true", b"false"):
        raise InvalidRequest("`Lapel-Strict` is `true` or `false`.", param="Lapel-Strict")
    return word == b"true"


def is_date(value: bytes) -> bool:
    """Whether the text is a day of the calendar, YYYY-MM-DD."""
    if not _VERSION.match(value):
        return False
    try:
        date.fromisoformat(value.decode())
    except ValueError:
        return False
    return True
