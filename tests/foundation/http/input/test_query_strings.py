"""From query strings to structs: what is taken, and everything hostile ends as a 400."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.http.calls import NoQuery
from lapel.foundation.http.input.decoding import QueryDecoder
from lapel.foundation.http.input.fields import Moment
from tests.support.refused import refused


class Query(msgspec.Struct):
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    after: Annotated[Moment, msgspec.Meta(description="Inclusive.")] | None = None
    name: str | None = None


class Chosen(msgspec.Struct):
    mode: Literal["on", "off"] = "on"


query = QueryDecoder(Query)


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b"limit=0", "limit"),
        (b"limit=101", "limit"),
        (b"limit=abc", "limit"),
        (b"limit=1.5", "limit"),
        (b"limit=99999999999999999999999999", "limit"),
        (b"after=2026-01-15T12:00:00", "after"),
        (b"after=0001-01-01T00:00:00Z", "after"),
        (b"name=%00", "name"),
        (b"nane=a", "nane"),
        (b"unknown=%00", "unknown"),
        (b"unknown", "unknown"),
        (b"%C3%A4%00=1", "ä\0"),
        (b"=1", None),
        (b"name=a&unknown=", "unknown"),
        (b"name=", "name"),
        (b"name", "name"),
        (b"name=&name=a", "name"),
        (b"after=", "after"),
        (b"name=%ff", None),
        (b"name=%ed%a0%80", None),
        (b"name=\xc3\xa4", None),
        ("&".join(f"a{n}=1" for n in range(200)).encode(), None),
    ],
    ids=lambda raw: repr(raw)[:30],
)
def test_a_wrong_query_is_refused(raw: bytes, param: str | None) -> None:
    assert refused(query, raw).param == param


def test_paging_without_a_value_counts_as_absent() -> None:
    assert query(b"limit=") == query(b"limit") == query(b"")
    assert query(b"limit=&name=a") == query(b"name=a")


def test_an_unknown_parameter_is_told_which_one_was_meant() -> None:
    assert refused(query, b"nane=a").message == (
        "`nane` is no query parameter of this route. Did you mean `name`? It takes `limit`, `after`, `name`."
    )
    assert refused(query, b"zzz=a").message == (
        "`zzz` is no query parameter of this route. It takes `limit`, `after`, `name`."
    )
    assert refused(query, b"Name=a").param == "Name"
    assert refused(QueryDecoder(NoQuery), b"limit=1").message == (
        "`limit` is no query parameter of this route. It takes none."
    )
    assert refused(query, b"name=").message == "`name` is empty: give it a value, or leave it out."
    assert len(refused(query, b"name" * 10_000).message) < 200


def test_no_parameters_are_no_parameters() -> None:
    assert QueryDecoder(NoQuery)(b"") == QueryDecoder(NoQuery)(b"&&") == NoQuery()


def test_a_query_is_converted() -> None:
    value = query(b"limit=5&name=a%20b&after=2026-01-15T12:00:00%2B02:00")
    assert value == Query(5, datetime(2026, 1, 15, 10, tzinfo=UTC), "a b")
    assert refused(query, b"name=a&limit=5&name=b").param == "name"
    assert query(b"") == Query()
    # As text, `null` is a name like any other, and no number.
    assert query(b"name=null") == Query(name="null")
    refused(query, b"after=null")
    for number in (b"0", b"0.5", b"1768478400", b"-1"):
        assert refused(query, b"after=" + number).param == "after"
    assert refused(QueryDecoder(NoQuery), b"limit=\xff").param is None


@given(st.dictionaries(st.sampled_from(["limit", "after", "name", "other"]), st.text(max_size=20)))
def test_no_query_breaks_it(values: dict[str, str]) -> None:
    try:
        value = query(urlencode(values, errors="surrogatepass").encode())
    except InvalidRequest:
        return
    assert isinstance(value, Query)
    assert 1 <= value.limit <= 100


def test_a_query_is_told_the_words_it_takes() -> None:
    assert refused(QueryDecoder(Chosen), b"mode=half").message == "`mode` must be one of `off`, `on`."
