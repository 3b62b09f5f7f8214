"""Parses the query of a request, and writes it in the canonical form that is signed.

Source: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API reference.
"""

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from lapel.embedded.s3.s3_errors import S3Error
from lapel.foundation.storage.sigv4 import encode

# Parameters that do not select a call: those of the signature, and x-id, which SDKs add for logs.
_OF_THE_SIGNATURE = frozenset(
    {
        "X-Amz-Algorithm",
        "X-Amz-Content-Sha256",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "x-id",
    }
)
_SIGNATURE = "X-Amz-Signature"
# The end of most links is this and 64 digits. The rest is the same for all links that are signed in the same
# second.
_AT_THE_END = b"&X-Amz-Signature="
_DIGITS = 64
# The most bytes and parameters of a query that is kept parsed. Unsigned queries are kept, too, so none may
# take much memory: 340 parameters of three bytes take 45 KB.
_KEPT_BYTES = 1024
_KEPT_PARAMETERS = 16


class Query:
    """A parsed query. Many requests may share one, so nothing changes it."""

    __slots__ = ("canonical", "is_kept", "selecting", "signature", "values")

    def __init__(self, values: dict[str, str], canonical: str, *, is_kept: bool) -> None:
        self.is_kept = is_kept
        """Whether later requests may share it."""
        self.signature = values.pop(_SIGNATURE, None)
        self.values: Mapping[str, str] = values
        """The parameters, without the signature."""
        self.canonical = canonical
        # S3 ignores parameters that begin with `x-`, which clients put into links for their own purposes.
        self.selecting = frozenset(
            name for name in values.keys() - _OF_THE_SIGNATURE if not name.startswith("x-")
        )
        """The names of the parameters that select a call, or are for it."""


NO_QUERY = Query({}, "", is_kept=True)


def read_query(raw: bytes) -> tuple[Query, str | None]:
    """Return the parsed query, and the signature in it if there is one.

    Raises `S3Error` for a query that is not UTF-8 or gives a name twice.
    """
    text, given = raw[:-_DIGITS], raw[-_DIGITS:]
    if not text.endswith(_AT_THE_END) or not given.isalnum():
        query = _query_of(raw)
        return query, query.signature
    query = _query_of(text[: -len(_AT_THE_END)])
    if query.signature is not None:
        raise _given_twice()
    return query, given.decode("ascii")


def _query_of(text: bytes) -> Query:
    query = _kept(text) if len(text) <= _KEPT_BYTES else None
    return query or _parsed(text, is_kept=False)


@lru_cache(maxsize=512)
def _kept(raw: bytes) -> Query | None:
    """None for a query of many parameters, which is parsed each time."""
    return _parsed(raw, is_kept=True) if raw.count(b"&") < _KEPT_PARAMETERS else None


def _parsed(raw: bytes, *, is_kept: bool) -> Query:
    values: dict[str, str] = {}
    canonical: list[str] = []
    for part in raw.split(b"&"):
        if not part:
            continue
        name, value, text = _parameter(part) if len(part) <= 512 else _parameter.__wrapped__(part)
        if name in values:
            raise _given_twice()
        values[name] = value
        if name != _SIGNATURE:
            canonical.append(text)
    canonical.sort()
    return Query(values, "&".join(canonical), is_kept=is_kept)


@lru_cache(maxsize=4096)  # most parameters of most links are the same for a day
def _parameter(part: bytes) -> tuple[str, str, str]:
    """Return name, value and canonical text of one `name=value` of a query."""
    raw_name, _, raw_value = part.partition(b"=")
    name, value = unquote_to_bytes(raw_name), unquote_to_bytes(raw_value)
    try:
        return name.decode("utf-8"), value.decode("utf-8"), f"{encode(name)}={encode(value)}"
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", "The query is not UTF-8.") from None


def _given_twice() -> S3Error:
    return S3Error("InvalidArgument", "A query parameter is given twice.")
