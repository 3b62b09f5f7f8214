"""Types that the contract's structs share: checked types for bodies, and raw JSON for answers."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.http.input.text_lengths import utf16_units

T = TypeVar("T")
# A timestamp from a client: RFC 3339 with an offset; a time without an offset is refused.
Moment: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
# A JSON object of the client's own; its values may be any JSON.
JsonObject: TypeAlias = dict[str, Any]
Timestamp: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
        examples=["2026-01-15T12:00:00.000Z"],
    ),
]
Sha256: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
# A character that is not white space, in Python and in the ECMAScript of the OpenAPI document; their `\S`
# differ in U+001C to U+001F, U+0085 and U+FEFF.
NOT_BLANK = r"[^\s\u001c-\u001f\u0085\ufeff]"
# Integers that fit bigint columns and every client language.
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]

MAX_METADATA_BYTES = 16 * 1024
MAX_METADATA_KEYS = 50
MAX_METADATA_KEY_CHARACTERS = 64

# A small JSON object of the client's own, such as metadata; `metadata_text` checks the limits of this schema.
ClientObject: TypeAlias = Annotated[
    JsonObject,
    msgspec.Meta(
        extra_json_schema={
            "maxProperties": MAX_METADATA_KEYS,
            "propertyNames": {"maxLength": MAX_METADATA_KEY_CHARACTERS},
        }
    ),
]

_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_EXPONENT = re.compile(rb"e[+-]?([0-9]+)")


def metadata_text(value: JsonObject | None, *, param: str = "metadata") -> str:
    """The JSON text to store for a client's metadata; None is `{}`.

    Raises InvalidRequest when the metadata has too many keys, a key that is too long, or too many bytes.
    """
    if not value:
        return "{}"
    if len(value) > MAX_METADATA_KEYS:
        raise InvalidRequest(f"`{param}` may have at most {MAX_METADATA_KEYS} keys.", param=param)
    if any(utf16_units(key) > MAX_METADATA_KEY_CHARACTERS for key in value):
        raise InvalidRequest(
            f"Keys of `{param}` may have at most {MAX_METADATA_KEY_CHARACTERS} characters.", param=param
        )
    return json_text(value, param=param, max_bytes=MAX_METADATA_BYTES)


def json_text(value: object, *, param: str, max_bytes: int) -> str:
    """The JSON text to store for a client's value.

    Raises InvalidRequest when the text takes more than `max_bytes`, or the value is nested too deeply.
    """
    try:
        encoded = msgspec.json.encode(value)
    except RecursionError as error:  # it was decoded with fewer frames on the stack
        raise InvalidRequest(f"`{param}` is nested too deeply.", param=param) from error
    if len(encoded) + _unfolded(encoded) > max_bytes:
        raise InvalidRequest(f"`{param}` may take at most {max_bytes} bytes as JSON.", param=param)
    return encoded.decode()


def _unfolded(encoded: bytes) -> int:
    """The number of bytes by which jsonb lengthens the JSON: it writes `1e300` with all its zeros."""
    if b"e" not in encoded:
        return 0
    return sum(int(digits) for digits in _EXPONENT.findall(_JSON_STRING.sub(b"", encoded)))


def raw(text: str | None) -> msgspec.Raw:
    """A jsonb column's text as raw JSON of an answer; None is `null`."""
    return msgspec.Raw(b"null" if text is None else text.encode())


def value_of(field: T | msgspec.UnsetType | None) -> T | None:
    """The value of a field in a PATCH; None also when the PATCH leaves the field out."""
    return None if field is msgspec.UNSET else field


def given(field: T | msgspec.UnsetType | None) -> tuple[bool, T | None]:
    """Whether a PATCH has the field, and the field's value (null clears what is stored)."""
    return field is not msgspec.UNSET, value_of(field)
