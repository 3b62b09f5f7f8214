"""The words in which a body is refused: what the field takes, never how we check it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, cast

import msgspec
import pytest
from jsonschema_rs import Draft202012Validator

from lapel.foundation.http.input.decoding import BodyDecoder
from lapel.foundation.http.input.fields import NOT_BLANK, Moment
from lapel.slices.erasure.wire import PlaceHold
from tests.support.declared import declared_operations
from tests.support.refused import refused


class Needed(msgspec.Struct):
    media_id: str


class Inner(msgspec.Struct):
    mode: Literal["on", "off"] = "on"


def test_a_missing_field_says_that_it_is_required() -> None:
    error = refused(BodyDecoder(Needed), b"")
    assert error.param == "media_id"
    assert error.message == "`media_id` is required."
    assert error.details[0].reason == "required"


class Chosen(msgspec.Struct, kw_only=True):
    kinds: Annotated[list[Literal["wifi", "ble"]], msgspec.Meta(max_length=4)] | None = None
    inner: Inner | None = None
    only: Literal["failed"] = "failed"
    version: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._+-]{1,32}\Z")] | None = None
    hash: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{4}\Z")] | None = None
    tag: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,31}\Z")] | None = None
    when: Moment | None = None
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=3, pattern=NOT_BLANK)] | None = None
    code: Annotated[str, msgspec.Meta(min_length=2)] | None = None
    events: Annotated[list[str], msgspec.Meta(min_length=1, max_length=2)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None
    share: Annotated[float, msgspec.Meta(gt=0, lt=1.5)] | None = None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kinds": ["wifi", "lte"]}, "`kinds[1]` must be one of `ble`, `wifi`."),
        ({"inner": {"mode": "half"}}, "`inner.mode` must be one of `off`, `on`."),
        ({"only": "applied"}, "`only` must be `failed`."),
        ({"version": "1.6 beta"}, "`version` must be 1 to 32 characters of A-Za-z0-9._+-."),
        ({"hash": "ABCD"}, "`hash` must be 4 characters of 0-9a-f."),
        ({"reason": ""}, "`reason` must not be empty."),
        ({"reason": " "}, "`reason` must not be blank."),
        ({"reason": "four"}, "`reason` must have at most 3 characters."),
        ({"code": "a"}, "`code` must have at least 2 characters."),
        ({"events": []}, "`events` must not be empty."),
        ({"events": ["a", "b", "c"]}, "`events` must have at most 2 entries."),
        ({"limit": 0}, "`limit` must be at least 1."),
        ({"limit": 101}, "`limit` must be at most 100."),
        ({"share": 0}, "`share` must be more than 0."),
        ({"share": 1.5}, "`share` must be less than 1.5."),
        ({"tag": "1a"}, "`tag` must be 1 to 32 characters of a-z0-9-, the first one of a-z."),
        ({"when": "2026-01-15"}, "`when` must be a time with its offset, such as 2026-01-15T12:00:00Z."),
        (
            {"when": "2026-01-15T12:00:00"},
            "`when` must be a time with its offset, such as 2026-01-15T12:00:00Z.",
        ),
    ],
)
def test_a_refusal_says_what_the_field_takes(value: dict[str, Any], message: str) -> None:
    error = refused(BodyDecoder(Chosen), json.dumps(value).encode())
    assert error.message == message
    assert error.details[0].reason == message[message.index(" ") + 1 : -1]


@pytest.mark.parametrize("reason", [" ", "\t", "\x1c", "\x1f", "\x85", "\xa0", "\u2028", "\u3000", "\ufeff"])
def test_a_blank_reason_is_blank_for_the_server_and_for_a_reader_of_the_document(reason: str) -> None:
    assert refused(BodyDecoder(PlaceHold), json.dumps({"reason": reason}).encode()).param == "reason"
    document = Draft202012Validator(msgspec.json.schema(PlaceHold)["$defs"]["PlaceHold"])
    assert not document.is_valid({"reason": reason})
    assert document.is_valid({"reason": f"{reason}a"})


def patterns(described: object) -> set[str]:
    """All regular expressions in a document."""
    if isinstance(described, list):
        return {found for each in cast("list[object]", described) for found in patterns(each)}
    if not isinstance(described, dict):
        return set()
    named = cast("dict[str, object]", described)
    own = {named["pattern"]} if isinstance(named.get("pattern"), str) else set[object]()
    return {str(each) for each in own} | {found for each in named.values() for found in patterns(each)}


def test_no_refusal_quotes_a_regular_expression() -> None:
    found = {
        pattern
        for each in declared_operations()
        for struct in (each.body, each.query)
        for pattern in patterns(msgspec.json.schema(struct))
        if pattern.endswith(r"\Z")  # another one only describes what the slice checks by itself
    }
    assert len(found) > 4
    for pattern in found:
        struct = msgspec.defstruct("Named", [("field", Annotated[str, msgspec.Meta(pattern=pattern)])])
        message = refused(BodyDecoder(struct), b'{"field": "!\\u0001"}').message
        assert message.startswith("`field` must be "), pattern
        assert "{" not in message, message
