"""Which fields of a body a struct does not know, and the header that names them."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.http.input.decoding import BodyDecoder
from lapel.foundation.http.input.unknown_fields import UnknownFields, warning_of


class Inner(msgspec.Struct):
    volume: int = 0
    free: dict[str, Any] | None = None


class Middle(msgspec.Struct):
    inner: Annotated[Inner, msgspec.Meta(description="Described.")] | msgspec.UnsetType | None = msgspec.UNSET


SCHEMA = {
    "type": "object",
    "properties": {"codec": {}, "hours": {"anyOf": [{"properties": {"start": {}}}, {"type": "null"}]}},
}
Checked = Annotated[dict[str, Any], msgspec.Meta(extra_json_schema=SCHEMA)]


class Body(msgspec.Struct):
    started_at: str | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    numbers: list[int] = msgspec.field(default_factory=list[int])
    middle: Middle | None = None
    settings: Inner | None = msgspec.field(default=None, name="set")
    audio: Checked | msgspec.UnsetType | None = msgspec.UNSET


class ClosedInner(msgspec.Struct, forbid_unknown_fields=True):
    volume: int = 0


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    """It refuses unknown fields while it is decoded."""

    free: Inner | None = None
    inner: Annotated[ClosedInner, msgspec.Meta(description="Described.")] | None = None


class InList(msgspec.Struct):
    members: list[Inner]


find = UnknownFields(Body)
decode = BodyDecoder(Body)
# RFC 9110, section 5.6.4 (a quoted string), and of it only what no reader takes for anything else.
HEADER = re.compile(rb'299 lapel "Unknown fields are ignored: [A-Za-z0-9%_.~,() -]+"\Z')


def found(body: bytes) -> list[str]:
    decode(body)  # only bodies that were decoded are looked at
    return [each.path for each in find(body)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b" { } ",
        b'{"started_at":"x"}',
        b'{"started_at":null,"middle":null,"set":null}',
        b'{"metadata":{"started_at":1,"any":{"thing":[1e5]}},"numbers":[1,2]}',
        b'{"middle":{"inner":{"volume":1,"free":{"any":{"thing":1}}}}}',
        b'{"middle":{"inner": null }}',
        b'{"started\\u005fat":"x"}',
        b'{"audio":null}',
        b'{"audio":{"codec":{"any":1},"hours":{"start":1}}}',
        b'{"audio":{"codec":1,"hours":null}}',
    ],
)
def test_what_is_known_is_not_named(body: bytes) -> None:
    assert found(body) == []


def test_unknown_fields_are_found_at_any_depth() -> None:
    body = (
        b'{"strated_at":1,"middle":{"foo":{"volume":1},"inner":{"started_at":2,"volume":3}},"settings":{},'
        b'"set":{"vol\\u0075mes":1}}'
    )
    assert found(b'{"audio":{"hours":{"stat":1},"codec":1,"kodec":1}}') == ["audio.hours.stat", "audio.kodec"]
    # What is of another kind is refused elsewhere, or not at all.
    assert found(b'{"audio":{"hours":[1]}}') == []
    assert found(b'{"audio":{"hours":7},"zzz":1}') == ["zzz"]
    assert found(body) == ["strated_at", "middle.foo", "middle.inner.started_at", "settings", "set.volumes"]


def test_what_an_unknown_field_has_does_not_matter() -> None:
    deep = b"[" * 500 + b"]" * 500
    assert found(b'{"huge":1e999,"long":' + b"9" * 5000 + b',"deep":' + deep + b"}") == [
        "huge",
        "long",
        "deep",
    ]


def test_a_few_are_named_of_many() -> None:
    body = b"{" + b",".join(b'"field%d":1' % n for n in range(50_000)) + b"}"
    unknown = find(body)
    assert len(unknown) < 20
    ((name, value),) = warning_of(unknown)
    assert name == b"warning"
    assert value.endswith(b'field6, field7 and more"')


def test_the_refusal_says_which_field_was_meant() -> None:
    (error,) = [each.refusal() for each in find(b'{"middle":{"inner":{"volum":1}}}')]
    assert (error.param, error.message) == (
        "middle.inner.volum",
        "`middle.inner.volum` is not known here. Did you mean `volume`?",
    )
    (error,) = [each.refusal() for each in find(b'{"zzz":1}')]
    assert (error.param, error.message) == ("zzz", "`zzz` is not known here.")
    (error,) = [each.refusal() for each in find(b'{"":1}')]
    assert (error.param, error.message) == (None, "The body has a field with an empty name.")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"iner":{}}', "`iner` is not known here. Did you mean `inner`?"),
        (
            b'{"free":{"volum":1},"inner":{"volum":1}}',
            "`inner.volum` is not known here. Did you mean `volume`?",
        ),
        (b'{"inner":{"free":1}}', "`inner.free` is not known here."),
        (b'{"zzzzzz":1}', "`zzzzzz` is not known here."),
    ],
)
def test_a_struct_that_forbids_them_refuses_in_the_same_words(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        BodyDecoder(Closed)(body)
    assert refused.value.message == message
    assert refused.value.param == message.split("`")[1]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("strated_at", b"strated_at"),
        ("a\r\nSet-Cookie: x", b"a%0D%0ASet-Cookie%3A%20x"),
        ('a"\\,', b"a%22%5C%2C"),
        ("größe", b"gr%C3%B6%C3%9Fe"),
        ("\x1b[31m", b"%1B%5B31m"),
        ("", b"(an empty name)"),
        ("x" * 100_000, b"x" * 64),
    ],
)
def test_a_hostile_name_cannot_leave_the_header(name: str, shown: bytes) -> None:
    ((_, value),) = warning_of(find(msgspec.json.encode({name: 1})))
    assert value == b'299 lapel "Unknown fields are ignored: ' + shown + b'"'
    assert HEADER.match(value)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(), min_size=1))
def test_any_names_make_a_short_header_of_plain_characters(fields: dict[str, int]) -> None:
    for _, value in warning_of(find(msgspec.json.encode(fields))):
        assert HEADER.match(value)
        assert len(value) < 1000


def test_a_struct_in_a_list_has_to_be_taught() -> None:
    with pytest.raises(TypeError, match="members"):
        UnknownFields(InList)
