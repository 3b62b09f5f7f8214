"""The building blocks with which the strict reader describes JSON values: each yields the faults it finds."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeAlias

Shape: TypeAlias = Callable[[Any, str], Iterator[str]]
Json: TypeAlias = dict[str, Any]

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


def units(text: str) -> int:
    """Length of a text in UTF-16 code units."""
    return len(text.encode("utf-16-le")) // 2


def anything(value: Any, at: str) -> Iterator[str]:
    """Any JSON value."""
    del value, at
    yield from ()


def boolean(value: Any, at: str) -> Iterator[str]:
    """true or false."""
    if not isinstance(value, bool):
        yield f"{at}: {value!r} is no boolean"


def integer(least: int = 0, most: int = 2**53 - 1) -> Shape:
    """A JSON integer: neither `256.0` nor `"256"` nor `true`."""

    def shape(value: Any, at: str) -> Iterator[str]:
        if type(value) is not int:
            yield f"{at}: {value!r} is no integer"
        elif not least <= value <= most:
            yield f"{at}: {value} is not within {least} and {most}"

    return shape


def number(least: float, most: float) -> Shape:
    """A finite number, whole or not."""

    def shape(value: Any, at: str) -> Iterator[str]:
        if type(value) not in (int, float) or not math.isfinite(value):
            yield f"{at}: {value!r} is no number"
        elif not least <= value <= most:
            yield f"{at}: {value} is not within {least} and {most}"

    return shape


def text(least: int = 0, most: int = 250_000, pattern: str = "") -> Shape:
    """A string, its length counted in UTF-16 units; the pattern matches all of it."""
    expression = re.compile(pattern, re.DOTALL) if pattern else None

    def shape(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, str):
            yield f"{at}: {value!r} is no string"
        elif not least <= units(value) <= most:
            yield f"{at}: {units(value)} UTF-16 units, not within {least} and {most}"
        elif "\0" in value:
            yield f"{at}: it holds NUL"
        elif expression and not expression.fullmatch(value):
            yield f"{at}: {value[:200]!r} does not match {pattern}"

    return shape


def word(*allowed: str) -> Shape:
    """One of the listed words."""

    def shape(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, str) or value not in allowed:
            yield f"{at}: {value!r} is none of {' '.join(allowed)}"

    return shape


def null_or(inner: Shape) -> Shape:
    """`x|null`."""

    def shape(value: Any, at: str) -> Iterator[str]:
        if value is not None:
            yield from inner(value, at)

    return shape


def array(inner: Shape, most: int = 2**53, least: int = 0) -> Shape:
    """A list of values of one shape."""

    def shape(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{at}: {value!r} is no array"
            return
        if not least <= len(value) <= most:
            yield f"{at}: {len(value)} members, not within {least} and {most}"
        for index, member in enumerate(value):
            yield from inner(member, f"{at}[{index}]")

    return shape


def record(required: dict[str, Shape], optional: dict[str, Shape] | None = None) -> Shape:
    """An object with exactly these keys; the optional ones may be left out, and are then not null."""
    left_out = optional or {}
    every = required | left_out

    def shape(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{at}: {value!r} is no object"
            return
        missing = required.keys() - value.keys()
        if missing:
            yield f"{at}: without {' '.join(sorted(missing))}"
        unknown = value.keys() - every.keys()
        if unknown:
            yield f"{at}: unknown {' '.join(sorted(unknown))}"
        for name, inner in every.items():
            if name in value:
                yield from inner(value[name], f"{at}.{name}")

    return shape


def all_of(*shapes: Shape) -> Shape:
    """All of these shapes at once."""

    def shape(value: Any, at: str) -> Iterator[str]:
        for inner in shapes:
            yield from inner(value, at)

    return shape


def agrees(says: str, holds: Callable[[Json], bool]) -> Shape:
    """A rule between keys of one object; not applied to other values, or when a key is missing."""

    def shape(value: Any, at: str) -> Iterator[str]:
        try:
            if not holds(value):
                yield f"{at}: not so: {says}"
        except (KeyError, TypeError, AttributeError):
            return

    return shape


def mapping(inner: Shape) -> Shape:
    """An object with free keys."""

    def shape(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{at}: {value!r} is no object"
            return
        for name, member in value.items():
            yield from inner(member, f"{at}.{name}")

    return shape


json_object: Shape = mapping(anything)


def identifier(prefix: str) -> Shape:
    """An id: the prefix and 24 letters and digits."""
    return text(pattern=rf"{prefix}_[A-Za-z0-9]{{24}}")


# What is missing in a result, with its place. `end_ms` and `missing_ms` are null if they are unknown.
WARNING = record(
    {
        "code": text(1, 64, r"[a-z_]+"),
        "message": text(1, 1_000),
        "start_ms": null_or(integer()),
        "end_ms": null_or(integer()),
        "missing_ms": null_or(integer()),
    }
)
WARNINGS = array(WARNING, most=100)


def time(value: Any, at: str) -> Iterator[str]:
    """A point in time in UTC, with exactly three decimals of a second."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        yield f"{at}: {value!r} is no time with milliseconds and Z"
        return
    try:
        datetime.fromisoformat(value)
    except ValueError:
        yield f"{at}: {value} is in no calendar"


def metadata(value: Any, at: str) -> Iterator[str]:
    """A client's own object: at most 50 keys of at most 64 UTF-16 units, 16 KiB in all."""
    if not isinstance(value, dict):
        yield f"{at}: {value!r} is no object"
        return
    if len(value) > 50:
        yield f"{at}: {len(value)} keys"
    if any(units(name) > 64 for name in value):
        yield f"{at}: a key is longer than 64"
    if len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()) > 16 * 1024:
        yield f"{at}: larger than 16 KiB"


def lower_hex(digits: int) -> Shape:
    """That many lower-case hexadecimal digits."""
    return text(pattern=rf"[0-9a-f]{{{digits}}}")


def signed_url(value: Any, at: str) -> Iterator[str]:
    """At most 8,192 printable ASCII characters, without user information or fragment."""
    authority = r"https?://[^/@#?\s]+"
    yield from text(1, 8192, authority + r"/[!-\"$-~]*")(value, at)
