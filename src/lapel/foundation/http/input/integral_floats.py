"""Integers written with a point: `256.0` is 256 to JSON Schema and to most languages, but not to msgspec.

Bodies are decoded unchanged first. Only a body that is refused for such a number is rewritten here and
decoded again.
"""

from __future__ import annotations

import re

import msgspec

_REFUSED = re.compile(r"Expected `int[^`]*`, got `float` - at `\$(?P<path>[^`]+)`\Z")
# `.name`, or `[0]` of an array, or `[...]` of an object with keys of its own.
_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<at>[^]]*)\]")
# Beyond it a float does not represent every integer exactly.
_EXACT = 2.0**53

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def with_integers(body: bytes, refusal: str) -> bytes | None:
    """Returns the body with the refused number (see msgspec's `refusal`) rewritten as an integer.

    All members of an array have one type, so the number at this path is rewritten in all of them at once. If
    a key is repeated, its last value is kept. None when the refusal has another reason, or nothing changes.
    """
    refused = _REFUSED.search(refusal)
    if refused is None:
        return None
    # None means each member of an array, or of an object with free keys.
    steps = [step["name"] for step in _STEP.finditer(refused["path"])]
    rewritten = _rewritten(body, steps)
    return rewritten if rewritten != body else None


def _rewritten(text: bytes, steps: list[str | None]) -> bytes:
    """The rewritten text; unchanged when the steps lead through a value of another kind."""
    try:
        if not steps:
            return _whole(text)
        name, rest = steps[0], steps[1:]
        if name is None and text.lstrip().startswith(b"["):
            members = [_rewritten(bytes(each), rest) for each in _decode_array(text)]
            return b"[" + b",".join(members) + b"]"
        fields = _decode_object(text)
    except msgspec.ValidationError:
        return text
    changed = {
        field: msgspec.Raw(_rewritten(bytes(value), rest))
        for field, value in fields.items()
        if name is None or field == name
    }
    return msgspec.json.encode(fields | changed)


def _whole(text: bytes) -> bytes:
    try:
        number = float(text)  # msgspec's parser takes 20 microseconds for `1e307`
    except ValueError:  # no number
        return text
    return str(int(number)).encode() if number.is_integer() and abs(number) < _EXACT else text
