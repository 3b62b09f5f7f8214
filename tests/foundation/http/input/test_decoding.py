"""Every hostile body and query ends as a 400 that names what was wrong."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Annotated, Any, Literal, cast

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.http.calls import NoBody
from lapel.foundation.http.input.decoding import BodyDecoder
from lapel.foundation.http.input.fields import Count, JsonObject, Moment, metadata_text
from tests.support.refused import refused


class Inner(msgspec.Struct):
    size: Count


class Body(msgspec.Struct, kw_only=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=8)] = "x"
    when: Moment | None = None
    size: Count | None = None
    ready: bool = False
    inner: Inner | None = None
    tags: list[str] = []
    metadata: JsonObject | None = None
    change: str | msgspec.UnsetType | None = msgspec.UNSET
    mode: Literal["on", "off"] = "on"


decode = BodyDecoder(Body)


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b'{"name":1}', "name"),
        (b'{"name":null}', "name"),
        (b'{"name":""}', "name"),
        (b'{"name":"123456789"}', "name"),
        (b'{"size":"1"}', "size"),
        (b'{"size":1.5}', "size"),
        (b'{"size":-1.0}', "size"),
        (b'{"size":9007199254740992.0}', "size"),
        (b'{"inner":{"size":0.5}}', "inner.size"),
        (b'{"size":true}', "size"),
        (b'{"size":-1}', "size"),
        (b'{"size":9007199254740992}', "size"),
        (b'{"size":123456789012345678901234567890}', "size"),
        (b'{"size":1e999}', "size"),
        (b'{"ready":1}', "ready"),
        (b'{"ready":"true"}', "ready"),
        (b'{"inner":{}}', "inner.size"),
        (b'{"inner":{"size":-1}}', "inner.size"),
        (b'{"inner":[]}', "inner"),
        (b'{"tags":[1]}', "tags[0]"),
        (b'{"metadata":[]}', "metadata"),
        (b'{"when":"2026-01-15T12:00:00"}', "when"),
        (b'{"when":"2026-01-15"}', "when"),
        (b'{"when":"yesterday"}', "when"),
        (b'{"when":1768478400}', "when"),
        (b'{"when":"0001-01-01T00:00:00Z"}', "when"),
        (b'{"when":"9999-12-31T23:59:59-12:00"}', "when"),
        (b'{"change":1}', "change"),
        (b'{"name":"a\\u0000b"}', "name"),
        (b'{"metadata":{"a":{"b":["\\u0000"]}}}', "metadata.a.b"),
        (b'{"metadata":{"\\u0000":1}}', "metadata"),
        (b'{"unknown":"\\u0000"}', "unknown"),
    ],
)
def test_a_wrong_field_is_named(raw: bytes, param: str) -> None:
    error = refused(decode, raw)
    assert error.param == param
    assert error.details[0].field == param


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"size":"1"}', "`size`: Expected integer or null, got string."),
        (b'{"size":1.5}', "`size`: Expected integer or null, got number."),
        (b'{"ready":1}', "`ready`: Expected boolean, got integer."),
        (b'{"name":null}', "`name`: Expected string, got null."),
        (b'{"tags":{}}', "`tags`: Expected array, got object."),
        (b'{"tags":[true]}', "`tags[0]`: Expected string, got boolean."),
        (b'{"change":[]}', "`change`: Expected string or null, got array."),
        (b"[]", "The body: Expected object, got array."),
        (
            b'{"when":1}',
            "`when`: Expected a time with its offset, such as 2026-01-15T12:00:00Z, or null, got integer.",
        ),
    ],
)
def test_a_wrong_type_is_told_in_the_words_of_json(raw: bytes, words: str) -> None:
    found = refused(decode, raw)
    assert found.message == words
    assert found.message.endswith(f"{found.details[0].reason}.")


def test_an_integer_may_be_written_with_a_point() -> None:
    raw = b'{"size":256.0,"inner":{"size":2e3},"metadata":{"size":1.0},"name":"\xc3\xa9","size":12.0}'
    body = cast("Body", decode(raw))
    assert (body.size, type(body.size)) == (12, int)  # of a repeated key the last one counts
    assert body.inner is not None
    assert (body.inner.size, type(body.inner.size)) == (2000, int)
    assert (json.dumps(body.metadata), body.name) == ('{"size": 1.0}', "é")


class Many(msgspec.Struct, kw_only=True):
    counts: list[Count] = []
    grid: list[list[Count]] = []
    inners: list[Inner | None] = []
    by_name: dict[str, Inner] = {}
    last: Count = 0


decode_many = BodyDecoder(Many)


def test_integers_with_a_point_are_integers_in_arrays_too() -> None:
    """However many, beside others, and at any depth."""
    body = {
        "counts": [1, 2.0] * 200,
        "grid": [[], [3.0, 4], [5.0]],
        "inners": [{"size": 6.0}, None, {"size": 7, "size_too": 8.5}, {"size": 9.0}],
        "by_name": {"a.b[0]": {"size": 10.0}, "c": {"size": 11}},
        "last": 12.0,
    }
    expected = Many(
        counts=[1, 2] * 200,
        grid=[[], [3, 4], [5]],
        inners=[Inner(6), None, Inner(7), Inner(9)],
        by_name={"a.b[0]": Inner(10), "c": Inner(11)},
        last=12,
    )
    assert msgspec.json.encode(decode_many(json.dumps(body).encode())) == msgspec.json.encode(expected)
    assert decode_many(b'{"counts": [1.0], "last": 2.0, "last": 3, "counts": [4]}') == Many(
        counts=[4], last=3
    )


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b'{"counts":[1.0,2.0,2.5]}', "counts[2]"),
        (b'{"counts":[1.0,-2.0]}', "counts[1]"),
        (b'{"counts":[1.0,"2.0"]}', "counts[1]"),
        (b'{"counts":[1.0,9007199254740992.0]}', "counts[1]"),
        (b'{"grid":[[1.0],2.0]}', "grid[1]"),
        (b'{"inners":[{"size":1.0},1.0]}', "inners[1]"),
        (b'{"inners":[{"size":1.0},{}]}', "inners[1].size"),
        (b'{"last":1.0,"last":"x"}', "last"),
    ],
)
def test_what_is_no_integer_in_an_array_is_refused_at_its_place(raw: bytes, param: str) -> None:
    assert refused(decode_many, raw).param == param


@pytest.mark.parametrize(
    "raw",
    [
        b'{"mode":"' + b"x" * 100_000 + b'"}',
        # What looks like other reasons: one that is searched for in it would take minutes.
        b'{"mode":"' + b"Object contains unknown field `" * 30_000 + b'"}',
        b'{"mode":"' + b"Object missing required field `a" * 30_000 + b'"}',
        b'{"mode":"' + b"x - at `$.a" * 30_000 + b'"}',
        b'{"metadata":{"' + b"k" * 100_000 + b'":"\\u0000"}}',
        b'{"unknown":' + b'{"nested":' * 200 + b'"\\u0000"' + b"}" * 200 + b"}",
    ],
    ids=("value", "unknown", "missing", "at", "name", "path"),
)
def test_what_a_client_made_up_is_not_told_back_whole(raw: bytes) -> None:
    error = refused(decode, raw)
    assert len(error.message) + len(error.param or "") + len(error.details[0].reason) < 1000


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    inner: Inner | None = None


def test_an_unknown_field_with_an_empty_name_names_the_body() -> None:
    error = refused(BodyDecoder(Closed), b'{"":1}')
    assert error.message == "The body has a field with an empty name."
    assert (error.param, error.details[0].field) == (None, "body")


def test_an_unknown_name_that_looks_like_a_path_is_not_told_back_whole() -> None:
    error = refused(BodyDecoder(Closed), b'{"x - at `$' + b"[" * 900_000 + b'":1}')
    assert len(error.message) + len(error.param or "") + len(error.details[0].reason) < 1000


def test_looking_for_nul_does_not_hold_the_paths_of_all_names() -> None:
    """Each name lies within the one before: all their paths together are 400 times the body."""
    depth, name = 900, b"k" * 1000
    body = b'{"unknown":["\\u0041",' + (b'{"' + name + b'":') * depth + b"1" + b"}" * depth + b"]}"
    tracemalloc.start()
    try:
        decode(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(body)


def test_no_number_of_a_client_s_own_goes_to_a_slow_parser() -> None:
    """msgspec takes 20 microseconds for `1e307`: seconds for a body, and all other requests wait."""
    called: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            called.append(frame.f_code.co_name)

    numbers = "1e307,-0.0,1e-400,9007199254740993.0,1E2"
    for known in ("metadata", "unknown"):
        body = f'{{"name":"\\u0041","{known}":{{"a":[{numbers}]}}}}'.encode()
        called.clear()
        sys.setprofile(note)
        try:
            value = cast("Body", decode(body))
        finally:
            sys.setprofile(None)
        times = 2 if known == "metadata" else 1  # as a field, and in the search for NUL
        assert called.count("free_number") == times * len(numbers.split(","))
        if value.metadata is not None:
            read = value.metadata["a"]
            assert [repr(each) for each in read] == [repr(float(each)) for each in numbers.split(",")]
    for number in ("1e400", "-1e400", "1" * 400 + ".0"):
        error = refused(BodyDecoder(Body), f'{{"metadata":{{"a":{number}}}}}'.encode())
        assert error.param == "metadata[...]"
        assert "out of range" in error.message


@pytest.mark.parametrize(
    "raw",
    [
        b"{", b"}", b"[", b"nonsense", b"{'a':1}", b'{"a":}', b'{"a":1,}', b'{"name":"x"} trailing', b"{}{}",
        b'{"size":NaN}', b'{"size":Infinity}', b'{"size":-Infinity}', b'{"size":01}', b'{"size":1.}',
        b'{"name":"\xff"}', b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b'{"name":"a\x00b"}', b"\x00",
        b'{"name":"\\ud800"}', b'{"name":"\\udc00\\ud800"}', b'{"name":"\\ud800x"}', b'{"name":"\\x41"}',
        b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000,
        b'{"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"metadata":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}",
        b"1" * 100_000, b'{"unknown":"\xed\xa0\x80"}',
        b'{"unknown":"\xff"}', b'{"unknown":"\\ud800"}',
    ],
    ids=lambda raw: repr(raw[:24]),
)  # fmt: skip
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    assert refused(decode, raw).details[0].field in ("body", "metadata", "unknown", "a")


@pytest.mark.parametrize("raw", [b"[]", b"null", b"1", b'"x"', b"true"])
def test_another_kind_of_json_is_refused(raw: bytes) -> None:
    assert refused(decode, raw).param is None
    assert refused(BodyDecoder(NoBody), raw).param is None


@pytest.mark.parametrize("depth", [900, 980, 985, 990, 993])
def test_no_depth_breaks_the_search_for_nul(depth: int) -> None:
    raw = b'{"metadata":{"a":' + b"[" * depth + b'"\\u0000"' + b"]" * depth + b"}}"
    refused(decode, raw)


@given(st.integers(min_value=800, max_value=1100))
def test_metadata_is_stored_or_refused_at_any_depth(depth: int) -> None:
    raw = b'{"metadata":{"a":' + b"[" * depth + b"]" * depth + b"}}"

    def store(below: int) -> None:
        if below:
            store(below - 1)
        else:
            metadata_text({"a": value})

    try:
        body = decode(raw)
        assert isinstance(body, Body)
        assert body.metadata is not None
        value = body.metadata["a"]
        store(20)
    except InvalidRequest as error:
        assert "nested too deeply" in error.message  # noqa: PT017 - either outcome is right


def test_an_empty_body_is_an_empty_object() -> None:
    assert decode(b"") == decode(b"{}") == Body()
    assert BodyDecoder(NoBody)(b"") == NoBody()


def test_unknown_fields_are_ignored_and_the_last_of_two_wins() -> None:
    assert decode(b'{"nobody":{"knows":[1]},"name":"a","name":"b"}') == Body(name="b")
    assert BodyDecoder(NoBody)(b'{"anything":"\\u0001"}') == NoBody()
    assert refused(BodyDecoder(NoBody), b'{"anything":"\\u0000"}').param == "anything"


def test_null_clears_and_absent_keeps() -> None:
    cleared, kept = decode(b'{"change":null}'), decode(b"{}")
    assert isinstance(cleared, Body)
    assert isinstance(kept, Body)
    assert cleared.change is None
    assert kept.change is msgspec.UNSET


def test_an_escaped_backslash_before_u0000_is_text() -> None:
    assert decode(b'{"name":"\\\\u0000"}') == Body(name="\\u0000")


@pytest.mark.parametrize(
    ("offset", "hours"),
    [("Z", 0), ("z", 0), ("+00:00", 0), ("-00:00", 0), ("-11:30", -11.5), ("+14:00", 14), ("+23:30", 23.5)],
)
def test_times_take_any_offset(offset: str, hours: float) -> None:
    body = decode(f'{{"when":"2026-01-15T12:00:00.123{offset}"}}'.encode())
    assert isinstance(body, Body)
    assert body.when == datetime(2026, 1, 15, 12, 0, 0, 123_000, tzinfo=UTC) - timedelta(hours=hours)


@given(st.binary(max_size=200))
@example(b'{"name":"\\u0000')
def test_no_bytes_break_the_body(raw: bytes) -> None:
    try:
        decode(raw)
    except InvalidRequest as error:
        assert error.message  # noqa: PT017 - either outcome is right; anything else fails


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*Body.__struct_fields__, "other"]), JSON_VALUES, max_size=6))
def test_no_json_breaks_the_body(value: dict[str, Any]) -> None:
    raw = json.dumps(value).encode()
    try:
        body = decode(raw)
    except InvalidRequest:
        return
    assert isinstance(body, Body)
    assert not any("\0" in each for each in _texts(body.metadata))


def _texts(value: object) -> Iterator[str]:
    """All texts in a JSON value, also the names of fields."""
    match value:
        case str():
            yield value
        case list():
            for each in cast("list[object]", value):
                yield from _texts(each)
        case dict():
            for name, each in cast("dict[str, object]", value).items():
                yield name
                yield from _texts(each)
        case _:
            pass


def test_metadata_has_bounds() -> None:
    assert metadata_text(None) == "{}"
    assert metadata_text({"ä": [1, None]}) == '{"ä":[1,null]}'
    for value, words in (
        ({str(n): 1 for n in range(51)}, "at most 50 keys"),
        ({"k" * 65: 1}, "at most 64 characters"),
        ({"a": "x" * 16_384}, "at most 16384 bytes"),
    ):
        with pytest.raises(InvalidRequest, match=words) as caught:
            metadata_text(value, param="settings")
        assert caught.value.param == "settings"
    assert metadata_text({str(n).rjust(64, "k"): 1 for n in range(50)})
    assert len(metadata_text({"a": "x" * (16_384 - 8)})) == 16_384
