"""Integers written with a point: `256.0` is 256 to JSON Schema and to most languages, but not to msgspec.

Bodies are decoded as they are; only one that is refused for such a number comes here, and is decoded again.
"""

from __future__ import annotations

import re

import msgspec

_REFUSED = re.compile(r"Expected `int[^`]*`, got `float` - at `\$\.(?P<path>[^`\[\]]+)`\Z")
# Beyond it a float has no last digit, and is no exact number.
_EXACT = 2.0**53

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_number = msgspec.json.Decoder(float).decode


def with_integer(body: bytes, refusal: str) -> bytes | None:
    """The body with the number that msgspec's `refusal` names written as an integer.

    None when the refusal is of something else, the number is no whole one, or it stands in an array.
    """
    refused = _REFUSED.search(refusal)
    if refused is None:
        return None
    return _rewritten(body, refused["path"].split("."))


def _rewritten(text: bytes, path: list[str]) -> bytes | None:
    fields = _decode_object(text)
    name, rest = path[0], path[1:]
    if name not in fields:  # its name has a point
        return None
    written = bytes(fields[name])
    if rest:
        rewritten = _rewritten(written, rest)
    else:
        number = _decode_number(written)
        whole = number.is_integer() and abs(number) < _EXACT
        rewritten = str(int(number)).encode() if whole else None
    if rewritten is None:
        return None
    fields[name] = msgspec.Raw(rewritten)
    return msgspec.json.encode(fields)
