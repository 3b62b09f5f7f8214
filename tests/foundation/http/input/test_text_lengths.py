"""Lengths of text are counted in UTF-16 units, wherever a body or a query holds text of a bounded length."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import msgspec
import pytest

from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.http.calls import NoBody
from lapel.foundation.http.input.decoding import BodyDecoder, QueryDecoder, body_of
from lapel.foundation.http.input.fields import metadata_text
from lapel.foundation.http.operations import Operation
from tests.support.declared import declared_operations, described_api
from tests.support.tenants import Tenant

FACE = "\U0001f600"  # one code point, two UTF-16 units
Short = Annotated[str, msgspec.Meta(max_length=4)]


class Inner(msgspec.Struct):
    word: Short


class Outer(msgspec.Struct):
    word: Short = ""
    maybe: Short | None = None
    inner: Inner | None = None
    many: list[Inner] = []
    words: list[Short] = []


class Query(msgspec.Struct):
    word: Short = ""


@pytest.mark.parametrize(
    ("shape", "param"),
    [
        (lambda text: {"word": text}, "word"),
        (lambda text: {"maybe": text}, "maybe"),
        (lambda text: {"inner": {"word": text}}, "inner.word"),
        (lambda text: {"many": [{"word": ""}, {"word": text}]}, "many[1].word"),
        (lambda text: {"words": ["", text]}, "words[1]"),
    ],
)
@pytest.mark.parametrize("escaped", [True, False])
def test_a_string_of_any_depth_is_counted_in_units(shape: Any, param: str, *, escaped: bool) -> None:
    decode = BodyDecoder(Outer)

    def body(text: str) -> bytes:
        return json.dumps(shape(text), ensure_ascii=escaped).encode()

    decode(body(FACE * 2))
    decode(body("äöüß"))
    with pytest.raises(InvalidRequest) as refused:
        decode(body(FACE * 2 + "a"))
    assert refused.value.param == param
    with pytest.raises(InvalidRequest):
        body_of(Outer, shape(FACE * 2 + "a"))


def test_a_query_is_counted_in_units() -> None:
    QueryDecoder(Query)(f"word={quote(FACE * 2)}".encode())
    with pytest.raises(InvalidRequest) as refused:
        QueryDecoder(Query)(f"word={quote(FACE * 2)}a".encode())
    assert refused.value.param == "word"


def test_keys_of_metadata_are_counted_in_units() -> None:
    metadata_text({FACE * 32: 1})
    with pytest.raises(InvalidRequest):
        metadata_text({FACE * 32 + "a": 1})


def bounded(operation: Operation) -> list[tuple[str, int]]:
    """(name, most) of the texts of a body that its description bounds by their length alone."""
    described = described_api()["paths"][operation.path][operation.method.lower()]["requestBody"]
    (content,) = described["content"].values()
    schema = content["schema"]
    if "$ref" in schema:
        schema = described_api()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return [
        (name, kind["maxLength"])
        for name, each in schema.get("properties", {}).items()
        for kind in each.get("anyOf", [each])
        if kind.get("type") == "string" and "maxLength" in kind and "pattern" not in kind
    ]


BOUNDED = [
    pytest.param(each, name, most, id=f"{each.name}-{name}")
    for each in declared_operations()
    if each.body is not NoBody and not each.files
    for name, most in bounded(each)
]


@pytest.mark.parametrize(("operation", "name", "most"), BOUNDED)
def test_every_body_counts_its_texts_in_units(operation: Operation, name: str, most: int) -> None:
    described = described_api()["paths"][operation.path][operation.method.lower()]["requestBody"]
    example = described["content"]["application/json"]["examples"]["usual"]["value"]
    decode = BodyDecoder(operation.body)
    decode(json.dumps({**example, name: FACE * (most // 2)}).encode())
    with pytest.raises(InvalidRequest) as refused:
        decode(json.dumps({**example, name: FACE * (most // 2) + "aa"}).encode())
    assert refused.value.param == name


async def test_a_name_and_an_address_of_255_units(client: httpx.AsyncClient, tenant: Tenant) -> None:
    for field in ("name", "email", "external_id"):
        for value, status in ((FACE * 127 + "a", 201), (FACE * 128, 400), ("a" * 255, 201), ("a" * 256, 400)):
            answer = await client.post("/v1/end-users", json={field: value}, headers=tenant.headers)
            assert answer.status_code == status, (field, answer.text)
