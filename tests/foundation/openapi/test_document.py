"""The OpenAPI document and the page made of it."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Annotated, Any, ClassVar

import httpx
import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from lapel import app
from lapel.foundation.core.errors import ApiError, Conflict, NotFound
from lapel.foundation.http.authorization import PUBLIC, Access
from lapel.foundation.http.calls import NoBody, Reply
from lapel.foundation.http.operations import Operation
from lapel.foundation.http.responses import encode
from lapel.foundation.http.routes import Routes
from lapel.foundation.openapi import page
from lapel.foundation.openapi.document import document, refusals
from lapel.foundation.openapi.schemas import Schemas, always_sent, example_of
from lapel.foundation.slices import nouns_of
from lapel.slices.devices.service import OWN_DEVICE
from tests.support.declared import declared_operations, described_api

OPERATIONS = declared_operations()
# What a full disk does not hinder: of a heartbeat it leaves out what would be kept.
STORES_NOTHING = {
    "send_heartbeat",
    "create_wifi_grant",
    "create_download_url",
    "create_encrypted_staging_url",
    "export_end_user",
    "search_recordings",
}


class Child(msgspec.Struct):
    """A child."""

    age: int


class Parent(msgspec.Struct, kw_only=True):
    """A parent."""

    json_rules: ClassVar[dict[str, Any]] = {"minProperties": 1}
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z]+\Z", examples=["jane"])]
    children: list[Child] = []
    note: str | None = None
    secret: str | msgspec.UnsetType = msgspec.UNSET


class Asked(msgspec.Struct):
    """A query."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=100, description="Rows.")] = 20
    name: str | None = None
    since: str = ""


async def nothing(_call: object) -> Any:
    return None


NOUNS = nouns_of(app.SLICES)
READ = Access("recordings:read")
THINGS = Routes("Things", read=READ, write=READ)


def operation(**changes: Any) -> Operation:
    """One to look at."""
    made = THINGS.get("/v1/things/{recording_id}", "get_thing", Parent).plain("Read `it`", nothing)
    return replace(made, **changes)


def described(each: Operation) -> tuple[dict[str, Any], dict[str, Any]]:
    """The document of one operation, and what it says of it."""
    whole = document([each], NOUNS, server_url="https://api.example.com")
    validate(whole)
    return whole, whole["paths"][each.path][each.method.lower()]


def test_the_document_of_the_product_is_valid() -> None:
    validate(described_api())
    names = [each.name for each in OPERATIONS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("each", OPERATIONS, ids=lambda each: each.name)
def test_every_operation_says_what_it_is(each: Operation) -> None:
    told = described_api()["paths"][each.path][each.method.lower()]
    assert each.summary
    assert not each.summary.endswith(".")
    assert each.tag
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", each.name)
    assert told["operationId"] == each.name
    assert told.get("x-required-scope") == each.access.scope
    ways = len(each.access.callers) + (each.access.or_scope is not None)
    assert len(told["security"]) == ways
    assert str(each.status) in told["responses"]
    if each.response is not None:
        assert each.answer == "json"
    # What leaves something behind says how it may be repeated.
    assert each.idempotency != "none" or each.method in ("GET", "DELETE") or each.name in STORES_NOTHING
    assert each.query.__struct_config__.frozen  # requests without a query string share one
    for error in each.errors:
        assert (error.__doc__ or "").strip()


@pytest.mark.parametrize(
    "each", [each for each in OPERATIONS if each.body is not NoBody], ids=lambda e: e.name
)
def test_the_example_of_a_body_is_taken(each: Operation) -> None:
    content = described_api()["paths"][each.path][each.method.lower()]["requestBody"]["content"]
    assert list(content) == ["multipart/form-data" if each.files else "application/json"]
    (told,) = content.values()
    example = told["examples"]["usual"]["value"]
    msgspec.convert(example, each.body)
    schema = {**told["schema"], "components": described_api()["components"]}
    Draft202012Validator(schema).validate({**example, **{file.name: "…" for file in each.files}})


def test_a_key_may_call_with_its_scope_and_others_without() -> None:
    _, told = described(operation(access=replace(READ, callers=frozenset({"key", "device"}))))
    assert told["security"] == [{"key": ["recordings:read"]}, {"deviceToken": []}]
    assert told["x-required-scope"] == "recordings:read"
    assert "`recordings:read`" in told["description"]
    assert "device tokens" in told["description"]
    _, public = described(operation(access=PUBLIC))
    assert public["security"] == []
    assert not {"401", "403", "429"} & set(public["responses"])


def test_errors_are_told_by_status_and_code() -> None:
    class Gone(ApiError):
        """It went."""

        status, code = 409, "gone"

    route = THINGS.post("/v1/things/{recording_id}", "get_thing", Parent, Parent)
    each = route.stored("Read `it`", nothing, errors=(Conflict, Gone))
    whole, told = described(each)
    reference = told["responses"]["409"]["$ref"]
    assert reference.endswith("/conflict-or-gone-or-idempotency_key_in_use")
    told_of = whole["components"]["responses"][reference.rpartition("/")[2]]
    schema = {**told_of["content"]["application/json"]["schema"], "components": whole["components"]}
    checker = Draft202012Validator(schema)
    error = {"code": "gone", "message": "It went.", "request_id": "req_1"}
    assert checker.is_valid({"error": error})
    assert not checker.is_valid({"error": {**error, "code": "not_found"}})
    assert not checker.is_valid({"error": {"code": "gone", "message": "x"}})
    assert "Retry-After" in told_of["headers"]
    assert set(told["responses"]) == {
        "200", "400", "401", "403", "404", "409", "413", "415", "422", "429", "500", "503",
    }  # fmt: skip


def test_refusals_are_what_the_request_path_and_the_operation_can_say() -> None:
    codes = [each.code for each in refusals(operation(errors=(NotFound,)))]
    assert codes == [
        "invalid_request", "unauthorized", "forbidden", "not_found", "rate_limit_exceeded", "internal_error",
        "unavailable",
    ]  # fmt: skip


def test_path_parameters_have_the_pattern_of_their_ids() -> None:
    _, told = described(operation(path="/v1/a/{recording_id}/b/{media_id}/{kind}"))
    patterns = {each["name"]: each["schema"]["pattern"] for each in told["parameters"] if "name" in each}
    assert patterns == {
        "recording_id": "^rec_[A-Za-z0-9]{1,64}$",
        "media_id": "^med_[A-Za-z0-9]{1,64}$",
        "kind": "^[A-Za-z0-9_]{1,128}$",
    }
    own = operation(path="/v1/d/{device_id}", access=OWN_DEVICE)
    assert described(own)[1]["parameters"][0]["schema"]["pattern"] == "^(me|dev_[A-Za-z0-9]{1,64})$"


def test_query_parameters_come_from_the_query_struct() -> None:
    whole, told = described(THINGS.get("/v1/a", "get_things", Parent, Asked).plain("", nothing))
    assert [each for each in told["parameters"] if each.get("in") == "query"] == [
        {
            "name": "limit", "in": "query", "required": False, "description": "Rows.",
            "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
        },
        {"name": "name", "in": "query", "required": False, "schema": {"type": "string", "minLength": 1}},
        {"name": "since", "in": "query", "required": False, "schema": {"type": "string", "minLength": 1}},
    ]  # fmt: skip
    assert "Asked" not in whole["components"]["schemas"]


def test_posts_take_an_idempotency_key() -> None:
    posted = [each.get("$ref", "") for each in described(operation(method="POST"))[1]["parameters"]]
    got = [each.get("$ref", "") for each in described(operation())[1]["parameters"]]
    assert "#/components/parameters/IdempotencyKey" in posted
    assert "#/components/parameters/IdempotencyKey" not in got
    assert "#/components/parameters/Version" in posted + got


def test_what_is_only_sent_requires_all_that_is_always_there() -> None:
    sent = Schemas([], [Parent]).components["Parent"]
    assert sent["required"] == ["name", "children", "note"]
    received = Schemas([Parent], [Parent]).components["Parent"]
    assert received["required"] == ["name"]
    assert received["minProperties"] == 1
    assert sent["properties"]["name"]["pattern"] == "^[a-z]+$"
    assert always_sent(Child) == ["age"]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "examples": ["a"]}, "a"),
        ({"enum": ["b", "c"]}, "b"),
        ({"anyOf": [{"type": "string", "examples": ["d"]}, {"type": "null"}]}, "d"),
        ({"type": "integer", "minimum": 60}, 60),
        ({"type": "integer", "default": 7}, 7),
        ({"type": "boolean"}, True),
        ({"type": "string", "minLength": 3}, "xxx"),
        ({"type": "string", "format": "date-time"}, "2026-01-15T12:00:00.000Z"),
        ({"type": "array", "items": {"type": "boolean"}}, [True]),
        (
            {"type": "object", "properties": {"a": {"type": "boolean"}, "b": {}}, "required": ["a"]},
            {"a": True},
        ),
        ({"$ref": "#/components/schemas/X"}, {"q": 1}),
    ],
)
def test_examples_are_made_of_what_the_schema_says(schema: dict[str, Any], value: object) -> None:
    components = {"X": {"type": "object", "properties": {"q": {"type": "integer"}}, "required": ["q"]}}
    assert example_of(schema, components) == value


class _Page(HTMLParser):
    """What a browser would fetch or run, and what is there to read."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "srcset", "data", "action") or (tag == "link" and name == "href"):
                self.fetched.append(str(value))
            elif name == "id":
                self.ids.append(str(value))
            elif name == "href":
                self.links.append(str(value))
            elif name.startswith("on"):
                self.handlers.append(name)


def test_the_page_is_whole_in_itself_and_shows_every_operation() -> None:
    text = page.page(described_api()).decode()
    seen = _Page()
    seen.feed(text)
    assert seen.fetched == []
    assert seen.handlers == []
    assert "@import" not in text
    assert "url(" not in text
    assert {each.name for each in OPERATIONS} <= set(seen.ids)
    assert len(seen.ids) == len(set(seen.ids))
    for link in seen.links:
        assert link == "/v1/openapi.json" or link.removeprefix("#") in seen.ids, link


def test_nothing_in_a_description_becomes_markup() -> None:
    evil = "<script>alert(1)</script> & `<b>`"
    text = page.page(
        document([operation(summary=evil, description=evil)], NOUNS, server_url="http://x")
    ).decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; <code>&lt;b&gt;</code>" in text


async def test_the_page_is_served_under_a_policy_that_lets_nothing_in(client: httpx.AsyncClient) -> None:
    answer = await client.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_an_answer_is_encoded_as_it_is_declared() -> None:
    status, headers, body = encode(operation(), Parent(name="jane"))
    assert (status, dict(headers)) == (200, {b"content-type": b"application/json"})
    assert msgspec.json.decode(body) == {"name": "jane", "children": [], "note": None}
    status, headers, body = encode(operation(), Reply(b"{}", 201, (("X-Thing", "1"),)))
    assert (status, body, dict(headers)[b"x-thing"]) == (201, b"{}", b"1")


@pytest.mark.parametrize(
    ("struct", "field"),
    [
        *(
            (f"{verb}{noun}", "metadata")
            for verb in ("Create", "Update")
            for noun in ("EndUser", "Device", "Recording")
        ),
        ("Params", "metadata"),
        ("Report", "result"),
        ("Report", "error"),
    ],
)
def test_the_document_says_how_many_and_how_long_the_keys_of_an_object_may_be(
    struct: str, field: str
) -> None:
    schema = Draft202012Validator(
        {
            "$ref": f"#/components/schemas/{struct}/properties/{field}",
            "components": described_api()["components"],
        }
    )
    assert schema.is_valid({str(number): number for number in range(50)})
    assert not schema.is_valid({str(number): number for number in range(51)})
    assert schema.is_valid({"k" * 64: 1})
    assert not schema.is_valid({"k" * 65: 1})
