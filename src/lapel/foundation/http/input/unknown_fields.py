"""Finds the fields of a body that its struct does not know: a client has misspelled them, perhaps.

Decoding skips them. Here the body is read once more, into a struct that has the same names, forbids others,
and keeps each value as raw JSON: this takes less time than decoding, and most bodies end here. Only a body
with an unknown field is walked.

The header is that of RFC 7234, section 5.5: `299` is a warning that lasts.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import msgspec

from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.http.input.suggestions import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What an answer names at most: fields, and characters of each.
_MOST_NAMED = 8
_SHOWN = 64
_EMPTY = (b"", b"{}")
_PLAIN = "_.-"

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class UnknownFields:
    """Finds the unknown fields in the bodies of one struct, also in the structs of its fields.

    A dict is an object of the client's own, and all its names are known, unless the JSON Schema of the field
    has `properties`.
    """

    def __init__(self, struct: type[msgspec.Struct]) -> None:
        self._names = _names_of(struct)
        self._decode = msgspec.json.Decoder(self._names.shape).decode

    def __call__(self, body: bytes) -> Sequence[UnknownField]:
        """The first unknown fields of a body that was decoded to the struct."""
        if body in _EMPTY:
            return ()
        try:
            self._decode(body)
        except msgspec.ValidationError:
            return tuple(islice(self._names.unknown_in(body, ""), _MOST_NAMED + 1))
        return ()


class UnknownField(msgspec.Struct, frozen=True):
    """A field that is not known: its path in the body, and the names beside it that are."""

    path: str
    known: tuple[str, ...]

    def refusal(self) -> InvalidRequest:
        """The 400 that names the field, and the field that was probably meant."""
        path = self.path[:_SHOWN]
        if not path:  # `param` is never an empty text
            return InvalidRequest("The body has a field with an empty name.", reason="unknown")
        meant = suggestion(self.path.rpartition(".")[2], self.known)
        return InvalidRequest(f"`{path}` is not known here.{meant}", param=path, reason="unknown")


def warning_of(unknown: Sequence[UnknownField]) -> tuple[tuple[bytes, bytes], ...]:
    """The header that names fields which were ignored; none if there are none.

    Whatever a client sends, the header has only letters, digits and a few signs: others are percent-encoded.
    """
    if not unknown:
        return ()
    names = ", ".join(_quote_path(each.path) for each in unknown[:_MOST_NAMED])
    more = " and more" if len(unknown) > _MOST_NAMED else ""
    text = f'299 lapel "Unknown fields are ignored: {names}{more}"'
    return ((b"warning", text.encode("ascii")),)


def _quote_path(path: str) -> str:
    return quote(path[:_SHOWN], safe=_PLAIN)[:_SHOWN] or "(an empty name)"


class _Names:
    """The names that an object may have, and those of the objects in it. `shape`: a struct of these names."""

    def __init__(self, known: Sequence[str], inner: Mapping[str, _Names]) -> None:
        self._known = tuple(known)
        self._inner = inner
        fields: list[Any] = []
        for number, name in enumerate(self._known):
            kind: Any = inner[name].shape | None if name in inner else msgspec.Raw
            fields.append((f"_{number}", kind, msgspec.field(default=None, name=name)))
        self.shape: type[msgspec.Struct] = msgspec.defstruct("Names", fields, forbid_unknown_fields=True)

    def unknown_in(self, text: bytes, path: str) -> Iterator[UnknownField]:
        """The unknown fields of an object, in the order of its text; any other value has none."""
        try:
            fields = _decode_object(text)
        except msgspec.ValidationError:
            return
        for name, each in fields.items():
            inner = self._inner.get(name)
            if inner is not None:
                yield from inner.unknown_in(bytes(each), f"{path}{name}.")
            elif name not in self._known:
                yield UnknownField(path + name, self._known)


def _names_of(struct: type[msgspec.Struct]) -> _Names:
    described = cast("msgspec.inspect.StructType", msgspec.inspect.type_info(struct))
    found = {each.encode_name: _names_in(each.type) for each in described.fields}
    return _Names(tuple(found), {name: inner for name, inner in found.items() if inner is not None})


def _names_in(kind: msgspec.inspect.Type) -> _Names | None:
    """The names in a field's value; None if it has none, or any."""
    match kind:
        case msgspec.inspect.Metadata():
            schema = cast("dict[str, Any] | None", kind.extra_json_schema)
            return _names_in(kind.type) or _names_by(schema or {})
        case msgspec.inspect.UnionType():
            return next((found for each in kind.types if (found := _names_in(each)) is not None), None)
        case msgspec.inspect.StructType():
            return _names_of(kind.cls)
        case msgspec.inspect.CollectionType(item_type=msgspec.inspect.StructType()):
            raise TypeError(f"unknown fields are not looked for in the members of {kind}")
        case _:
            return None


def _names_by(schema: Mapping[str, Any]) -> _Names | None:
    """The names of an object that is checked by a JSON Schema in place of a struct."""
    for each in schema.get("anyOf", (schema,)):
        properties: dict[str, Any] = each.get("properties", {})
        if properties:
            found = {name: _names_by(inner) for name, inner in properties.items()}
            return _Names(tuple(found), {name: inner for name, inner in found.items() if inner is not None})
    return None
