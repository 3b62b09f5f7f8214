"""Decodes bodies and query strings into structs; invalid input becomes a 400 here.

Bodies are JSON (RFC 8259); times have the form of RFC 3339.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, cast, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl

import msgspec

from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.http.input.fields import NOT_BLANK
from lapel.foundation.http.input.free_numbers import free_number
from lapel.foundation.http.input.integral_floats import with_integers
from lapel.foundation.http.input.suggestions import suggestion
from lapel.foundation.http.input.text_lengths import LengthCheck
from lapel.foundation.http.input.unknown_fields import UnknownField

S = TypeVar("S", bound=msgspec.Struct)
_MAX_QUERY_FIELDS = 100
# Parameters of every list: without a value they count as absent.
_MAY_BE_EMPTY = frozenset(("cursor", "limit", "offset"))
# PostgreSQL and Python can store the times between these two, whatever their offset. An earlier or later time
# with an offset may overflow in PostgreSQL or in Python.
_FIRST_MOMENT = datetime(1, 1, 2, tzinfo=UTC)
_LAST_MOMENT = datetime(9999, 12, 30, tzinfo=UTC)
_VALIDATION = re.compile(r"^(?P<reason>.*?)(?: - at `(?:key in )?\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)
# Matched at the beginning only: a reason may contain the client's value, up to a mebibyte.
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]+)`")
# The most characters that an answer shows: of the name of an unknown field, and of a reason, which may
# contain the client's value.
_SHOWN = 64
_REASON = 200
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.*)`\Z", re.DOTALL)
_STEP = re.compile(r"\[(?:[^]]*\])?|[^.\[\]]+")
# Matches a reason that quotes a pattern of our structs, such as `^[a-z]{1,64}\Z`. The first character may
# have a class of its own.
_CHARACTERS = re.compile(
    r"Expected `str` matching regex "
    r"'\^(?:\[(?P<first>[^]]+)\])?\[(?P<of>[^]]+)\]\{(?P<many>[0-9,]+)\}\\\\Z'\Z"
)
_BOUND = re.compile(
    r"Expected `(?P<kind>str|array|object|int|float)`(?: of length)? (?P<sign>[<>]=?) (?P<bound>-?[0-9.]+)\Z"
)
_KINDS = re.compile(r"Expected `(?P<expected>[a-z]+(?: \| [a-z]+)*)`(?:, got `(?P<got>[a-z]+)`)?\Z")
# JSON's words for msgspec's; its other words are JSON's already.
_JSON_WORDS = {
    "int": "integer", "float": "number", "str": "string", "bool": "boolean",
    "datetime": "a time with its offset, such as 2026-01-15T12:00:00Z,",
}  # fmt: skip
_BOUND_WORDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_COUNTED = {"str": "characters", "array": "entries", "object": "fields"}
_SHAPES = {
    "Invalid RFC3339 encoded datetime": "a time with its offset, such as 2026-01-15T12:00:00Z",
    "Expected `datetime` with a timezone component": "a time with its offset, such as 2026-01-15T12:00:00Z",
    "Expected `str` matching regex '^[0-9a-f]{8}(?:-": "a UUID in lower case, as 8-4-4-4-12",
    "Expected `str` matching regex '^[0-9A-Fa-f]{8}(?:-": "a UUID: hexadecimal digits as 8-4-4-4-12",
    "Expected `str` matching regex '^[a-z_]+\\\\.": "two words with a dot between, such as key.created",
    "Expected `str` matching regex '^[A-Za-z]{2,3}(?:-": "a language's code, such as en or de-CH",
    "Expected `str` matching regex '^[^": "one line without control characters, with a visible character",
}

_decode_any = msgspec.json.Decoder(float_hook=free_number).decode


class BodyDecoder(Generic[S]):
    """Decodes one operation's JSON body into its struct.

    Unknown fields are ignored, unless the struct has `forbid_unknown_fields`: in writes of the configuration,
    and where a misspelled field would make a key or token that is broader than the one that was wanted.
    """

    def __init__(self, struct: type[S]) -> None:
        self._decode = msgspec.json.Decoder(struct, float_hook=free_number).decode
        self._struct = struct
        self._moments = moment_fields(struct)
        self._check_lengths = LengthCheck(struct)

    def __call__(self, body: bytes) -> S:
        """The struct of a body. Raises InvalidRequest whose `param` names the wrong field."""
        plain = body.isascii() and b"\\u" not in body
        try:
            try:
                value = self._decode(body or b"{}")
            except msgspec.ValidationError as refusal:
                value = self._mended(body or b"{}", refusal)
            if not plain:
                _check_text(body)
        except msgspec.ValidationError as error:
            raise from_validation(error, self._struct) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"The body is not valid JSON: {_plain(error)}.") from error
        except RecursionError as error:
            raise InvalidRequest("The body is nested too deeply.") from error
        if self._moments:
            check_moments(value, self._moments)
        if not plain:
            self._check_lengths(value)
        return value

    def _mended(self, body: bytes, refusal: msgspec.ValidationError) -> S:
        """The struct of a refused body in which an integer may be written with a decimal point: `256.0`.

        Each round rewrites one field of the struct, so there are at most as many rounds as the struct has
        integers. Raises the last refusal.
        """
        while (mended := with_integers(body, str(refusal))) is not None:
            body = mended
            try:
                return self._decode(body)
            except msgspec.ValidationError as error:
                refusal = error
        raise refusal


class QueryDecoder(Generic[S]):
    """Converts one operation's query string, or the text fields of its form, into the struct.

    A misspelled filter must not list everything, so unknown and empty parameters of a query are refused. So
    are repeated ones, of which a proxy may check another one than the one that counts.
    """

    def __init__(self, struct: type[S]) -> None:
        self.names = frozenset(struct.__struct_fields__)
        self._struct = struct
        self._texts = _as_text(struct)
        needs_one = any(field.required for field in msgspec.structs.fields(struct))
        self._default = None if needs_one else struct()
        self._moments = moment_fields(struct)
        self._check_lengths = LengthCheck(struct)

    def __call__(self, query: bytes) -> S:
        """The struct of a query string. Raises InvalidRequest whose `param` names the wrong parameter."""
        if self._default is not None and not query:
            return self._default
        try:
            pairs = parse_qsl(
                query.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=_MAX_QUERY_FIELDS,
            )
        except ValueError as error:  # bad UTF-8 is one too
            raise InvalidRequest("The query string is not valid UTF-8, or has too many fields.") from error
        for name, value in pairs:
            if name not in self.names:
                raise self._refuse_unknown(name)
            if not value and name not in _MAY_BE_EMPTY:
                said = "is empty: give it a value, or leave it out"
                raise InvalidRequest(f"`{name}` {said}.", param=name, reason=said)
        given = dict(pairs)
        if len(given) < len(pairs):
            raise _refuse_repeated([name for name, _ in pairs])
        return self.of({name: value for name, value in given.items() if value})

    def _refuse_unknown(self, name: str) -> InvalidRequest:
        shown = name[:_SHOWN]
        listed = ", ".join(f"`{each}`" for each in self._struct.__struct_fields__)
        takes = f"It takes {listed}." if listed else "It takes none."
        message = f"`{shown}` is no query parameter of this route.{suggestion(name, self.names)} {takes}"
        return InvalidRequest(message, param=shown or None, reason="unknown")

    def of(self, values: dict[str, str]) -> S:
        """The struct of these texts. Raises InvalidRequest as `__call__` does."""
        _refuse_nul(values, "")
        try:
            given = msgspec.convert(values, self._texts, strict=False)
            value = msgspec.convert(msgspec.structs.asdict(given), self._struct)
        except msgspec.ValidationError as error:
            raise from_validation(error, self._struct) from error
        check_moments(value, self._moments)
        self._check_lengths(value)
        return value


def _refuse_repeated(names: list[str]) -> InvalidRequest:
    name = next(each for each in names if names.count(each) > 1)
    said = "is given more than once: give it one value"
    return InvalidRequest(f"`{name}` {said}.", param=name, reason=said)


def body_of(struct: type[S], values: dict[str, object]) -> S:
    """The body's struct from values that the operator gives, checked like the body of a client.

    Raises InvalidRequest whose `param` names the wrong field.
    """
    _refuse_nul(values, "")
    try:
        value = msgspec.convert(values, struct)
    except msgspec.ValidationError as error:
        raise from_validation(error, struct) from error
    check_moments(value, moment_fields(struct))
    LengthCheck(struct)(value)
    return value


def _as_text(struct: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """A copy of `struct` for the texts of a query string, from which the real struct is then made strictly.

    The texts are converted to the copy with `strict=False`, so `1` becomes a number. No field of the copy may
    be None, so the text `null` stays text. Its times are text, so a number never becomes a time.
    """
    hints = get_type_hints(struct, include_extras=True)
    moments = moment_fields(struct)
    fields: list[Any] = []
    for each in msgspec.structs.fields(struct):
        hint = hints[each.name]
        if get_origin(hint) in (Union, UnionType):
            hint = Union[tuple(kind for kind in get_args(hint) if kind is not NoneType)]  # noqa: UP007
        kind = str if each.name in moments else hint
        fields.append((each.name, kind) if each.required else (each.name, kind, each.default))
    return msgspec.defstruct(struct.__name__, fields, kw_only=True)


def moment_fields(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    """The struct's own fields that hold timestamps."""

    def is_moment(kind: msgspec.inspect.Type) -> bool:
        if isinstance(kind, msgspec.inspect.Metadata):  # a description or an example
            return is_moment(kind.type)
        if isinstance(kind, msgspec.inspect.UnionType):
            return any(is_moment(each) for each in kind.types)
        return isinstance(kind, msgspec.inspect.DateTimeType)

    described = cast("msgspec.inspect.StructType", msgspec.inspect.type_info(struct))
    return tuple(field.name for field in described.fields if is_moment(field.type))


def check_moments(value: msgspec.Struct, fields: tuple[str, ...]) -> None:
    """Raises InvalidRequest for a time that cannot be stored."""
    for name in fields:
        moment = getattr(value, name)
        if isinstance(moment, datetime) and not _FIRST_MOMENT <= moment <= _LAST_MOMENT:
            raise InvalidRequest(f"`{name}` is out of range.", param=name)


def from_validation(error: msgspec.ValidationError, struct: type[msgspec.Struct]) -> InvalidRequest:
    """The contract's 400 for msgspec's error about a value of this struct."""
    match = _VALIDATION.match(str(error))
    reason = match["reason"] if match else str(error)
    # The name of a client's field may itself end like a path, so the path is shortened too.
    path = ((match["path"] if match else None) or "")[:_REASON]
    missing = _MISSING.match(reason)
    if missing:
        path = f"{path}.{missing['field']}" if path else missing["field"]
        return InvalidRequest(f"`{path}` is required.", param=path, reason="required")
    unknown = _UNKNOWN.match(reason)
    if unknown:
        name = unknown["field"]
        return UnknownField(f"{path}.{name}" if path else name, _names_at(struct, path)).refusal()
    said = _in_words(reason, struct, path)
    if said is not None:
        return InvalidRequest(f"`{path}` {said}.", param=path, reason=said)
    where = f"`{path}`" if path else "The body"
    kinds = _KINDS.match(reason)
    if kinds is not None:
        reason = _of_kinds(kinds)
    if len(reason) > _REASON:
        reason = f"{reason[:_REASON]}…"
    return InvalidRequest(f"{where}: {reason}.", param=path or None, reason=reason)


def _in_words(reason: str, struct: type[msgspec.Struct], path: str) -> str | None:
    """The allowed values in words, if the reason omits them or has only a regular expression; else None."""
    if reason.startswith("Invalid enum value"):
        words = [f"`{word}`" for word in _words(struct, path)]
        if words:
            return f"must be one of {', '.join(words)}" if len(words) > 1 else f"must be {words[0]}"
    if reason == f"Expected `str` matching regex {NOT_BLANK!r}":
        return "must not be blank"
    bound = _BOUND.match(reason)
    if bound is not None:
        return _of_bound(bound)
    for begin, shape in _SHAPES.items():
        if reason.startswith(begin):
            return f"must be {shape}"
    pattern = _CHARACTERS.match(reason)
    return _of_characters(pattern) if pattern else None


def _of_kinds(kinds: re.Match[str]) -> str:
    words = [_JSON_WORDS.get(each, each) for each in kinds["expected"].split(" | ")]
    expected = " or ".join(words).rstrip(",")
    got = kinds["got"]
    return f"Expected {expected}" + (f", got {_JSON_WORDS.get(got, got)}" if got else "")


def _of_bound(bound: re.Match[str]) -> str:
    counted, number = _COUNTED.get(bound["kind"]), bound["bound"].removesuffix(".0")
    words = f"{_BOUND_WORDS[bound['sign']]} {number}"
    if counted is None:
        return f"must be {words}"
    return "must not be empty" if words == "at least 1" else f"must have {words} {counted}"


def _of_characters(pattern: re.Match[str]) -> str:
    ahead = 1 if pattern["first"] else 0
    many = " to ".join(str(int(each) + ahead) for each in pattern["many"].split(","))
    said = f"must be {many} characters of {pattern['of']}"
    return f"{said}, the first one of {pattern['first']}" if ahead else said


def _words(struct: type[msgspec.Struct], path: str) -> list[str]:
    """The allowed words of the field at this path; empty when the field is not an enumeration."""
    kinds = _kinds_at(struct, path)
    return [
        str(word) for each in kinds if isinstance(each, msgspec.inspect.LiteralType) for word in each.values
    ]


def _names_at(struct: type[msgspec.Struct], path: str) -> tuple[str, ...]:
    """The names of the fields that the object at this path may have."""
    kinds = _kinds_at(struct, path)
    objects = (each for each in kinds if isinstance(each, msgspec.inspect.StructType))
    return tuple(field.encode_name for each in objects for field in each.fields)


def _kinds_at(struct: type[msgspec.Struct], path: str) -> list[msgspec.inspect.Type]:
    """The types that the value at this path may have."""
    found = [_described(struct)]
    for step in _STEP.findall(path):
        found = [inner for each in found for inner in _inside(each, step)]
    return [each for kind in found for each in _plain_kinds(kind)]


@cache
def _described(struct: type[msgspec.Struct]) -> msgspec.inspect.Type:
    """msgspec's description of a struct; cached, because it takes 0.5 ms and clients cause the look-ups."""
    return msgspec.inspect.type_info(struct)


def _inside(kind: msgspec.inspect.Type, step: str) -> Iterator[msgspec.inspect.Type]:
    """The type of the field with this name; for a step such as `[0]`, the type of a list's items."""
    for each in _plain_kinds(kind):
        if isinstance(each, msgspec.inspect.StructType):
            yield from (field.type for field in each.fields if field.encode_name == step)
        elif isinstance(each, msgspec.inspect.ListType) and step.startswith("["):
            yield each.item_type


def _plain_kinds(kind: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    """The type without descriptions; for a union, its members in the same way."""
    if isinstance(kind, msgspec.inspect.Metadata):
        yield from _plain_kinds(kind.type)
    elif isinstance(kind, msgspec.inspect.UnionType):
        for each in kind.types:
            yield from _plain_kinds(each)
    else:
        yield kind


def _check_text(body: bytes) -> None:
    """Check all strings, including those of unknown fields, which decoding to a struct skips."""
    if not body.isascii():
        body.decode("utf-8")
    if b"\\u" in body:
        _refuse_nul(_decode_any(body), "")


def _refuse_nul(value: object, path: str) -> None:
    """Raises InvalidRequest for a NUL, which PostgreSQL's text cannot store; `param` names the path."""
    if isinstance(value, str):
        if "\0" in value:
            raise InvalidRequest("Strings may not contain NUL characters.", param=path or None)
    elif isinstance(value, dict):
        for key, each in cast("dict[str, Any]", value).items():
            _refuse_nul(key, path)
            # Shorten at every step: nested names would otherwise add up to hundreds of mebibytes.
            _refuse_nul(each, (f"{path}.{key}" if path else key)[:_SHOWN])
    elif isinstance(value, list):
        for each in cast("list[Any]", value):
            _refuse_nul(each, path)


def _plain(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return str(error).removeprefix("JSON is malformed: ")
