"""Lengths of text in UTF-16 units, as the HTTP contract and most clients' languages count them.

msgspec and JSON Schema count code points; a character beyond U+FFFF is one code point and two units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from lapel.foundation.core.errors import InvalidRequest


def utf16_units(text: str) -> int:
    """The length of a text in UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    longest: int | None
    inner: LengthCheck | None

    def check(self, value: object, where: str) -> None:
        if isinstance(value, str):
            if self.longest is not None and utf16_units(value) > self.longest:
                reason = f"may have at most {self.longest} UTF-16 units"
                raise InvalidRequest(f"`{where}` {reason}.", param=where, reason=reason)
        elif isinstance(value, msgspec.Struct):
            if self.inner is not None:
                self.inner(value, where)
        elif isinstance(value, list):
            for index, each in enumerate(cast("list[object]", value)):
                self.check(each, f"{where}[{index}]")


class LengthCheck:
    """Checks the strings of a decoded struct, at any depth, against their `max_length` in UTF-16 units."""

    def __init__(self, kind: type[msgspec.Struct] | msgspec.inspect.StructType) -> None:
        described = kind if isinstance(kind, msgspec.inspect.StructType) else msgspec.inspect.type_info(kind)
        self.fields = tuple(_bounded(cast("msgspec.inspect.StructType", described)))

    def __call__(self, value: msgspec.Struct, path: str = "") -> None:
        """Raises InvalidRequest, which names the first string that is too long."""
        for field in self.fields:
            found: Any = getattr(value, field.name)
            field.check(found, f"{path}.{field.name}" if path else field.name)


def _bounded(struct: msgspec.inspect.StructType) -> Iterator[_Field]:
    """The fields with a string that has a `max_length`, directly or nested."""
    for field in struct.fields:
        kinds = list(_plain_kinds(field.type))
        lengths = [kind.max_length for kind in kinds if isinstance(kind, msgspec.inspect.StrType)]
        structs = [LengthCheck(kind) for kind in kinds if isinstance(kind, msgspec.inspect.StructType)]
        longest = next((each for each in lengths if each is not None), None)
        inner = next((each for each in structs if each.fields), None)
        if longest is not None or inner is not None:
            yield _Field(field.name, longest, inner)


def _plain_kinds(kind: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    """The type without descriptions; the members of a union, and the items of a list."""
    if isinstance(kind, msgspec.inspect.Metadata):
        yield from _plain_kinds(kind.type)
    elif isinstance(kind, msgspec.inspect.UnionType):
        for each in kind.types:
            yield from _plain_kinds(each)
    elif isinstance(kind, msgspec.inspect.ListType):
        yield from _plain_kinds(kind.item_type)
    else:
        yield kind
