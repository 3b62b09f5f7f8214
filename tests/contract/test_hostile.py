"""Bad input over HTTP: a clear answer each time, and nothing lost."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import httpx
import pytest

from lapel.foundation.http.calls import NoBody, NoQuery
from lapel.foundation.http.operations import Operation
from lapel.foundation.ports import Ports
from tests.contract.resources import Resources, bearer_of, call, named
from tests.support.declared import declared_operations
from tests.support.tenants import Tenant, contents

OPERATIONS = declared_operations()
# Forms have tests of their own: tests/foundation/http/input/test_forms.py, tests/firmware/test_releases.py.
TAKING_BODIES = [each for each in OPERATIONS if each.body is not NoBody and not each.files]
WRITING = [each for each in OPERATIONS if each.method != "GET" and not each.files]
LIMIT = 1024 * 1024

NO_JSON = {
    "cut": b'{"name":',
    "no json": b"name=x",
    "bad utf-8": b'{"name":"\xff\xfe"}',
    "bad utf-8 in an unknown field": b'{"nobody_knows":"\xff"}',
    "encoded surrogate": b'{"name":"\xed\xa0\x80"}',
    "lone surrogate": b'{"name":"\\ud800"}',
    "nul": b'{"name":"a\\u0000b"}',
    "nul in an unknown field": b'{"nobody_knows":{"a":["\\u0000"]}}',
    "raw nul": b'{"name":"a\x00b"}',
    "utf-16": '{"name":"x"}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "nan": b'{"nobody_knows":NaN}',
    "infinity": b'{"nobody_knows":Infinity}',
    "huge number": b'{"metadata":{"a":1e999}}',
    "5000 digits": b'{"metadata":{"a":' + b"9" * 5000 + b"}}",
    "100,000 lists": b"[" * 100_000 + b"]" * 100_000,
    "100,000 lists in a field": b'{"nobody_knows":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a list": b"[]",
    "null": b"null",
    "a number": b"1",
    "a string": b'"{}"',
    "two": b"{}{}",
}


async def send(
    client: httpx.AsyncClient,
    operation: Operation,
    resources: Resources,
    content: bytes,
    **headers: str,
) -> httpx.Response:
    """Send these bytes with a token that may call the operation."""
    request = call(operation, resources)
    named_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"Content-Type": "application/json", **bearer_of(operation, resources), **named_headers}
    return await client.request(request.method, request.path, content=content, headers=sent)


@named(TAKING_BODIES)
async def test_a_body_that_is_no_json_object_is_400(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    keeps_numbers = "metadata" in operation.body.__struct_fields__
    for name, content in NO_JSON.items():
        if not keeps_numbers and name in ("huge number", "5000 digits"):
            continue  # in a field that nobody reads
        answer = await send(client, operation, shared, content)
        assert answer.status_code == 400, f"{name}: {answer.text[:300]}"
        error = answer.json()["error"]
        assert error["code"] == "invalid_request"
        assert len(error["details"]) == 1
        assert set(error["details"][0]) == {"field", "reason"}


@named(WRITING)
async def test_a_body_of_1_mib_and_a_byte_is_413(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    answer = await send(client, operation, shared, b" " * (LIMIT + 1))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "payload_too_large"


async def test_a_chunked_body_of_1_mib_and_a_byte_is_413(client: httpx.AsyncClient, tenant: Tenant) -> None:
    async def chunks() -> AsyncGenerator[bytes]:
        for _ in range(16):
            yield b" " * (LIMIT // 16)
        yield b" "

    answer = await client.post("/v1/end-users", content=chunks(), headers=tenant.headers)
    assert answer.status_code == 413


async def test_a_body_of_exactly_1_mib_is_read(client: httpx.AsyncClient, tenant: Tenant) -> None:
    body = b'{"external_id":"big"' + b" " * (LIMIT - 21) + b"}"
    answer = await client.post("/v1/end-users", content=body, headers=tenant.headers)
    assert len(body) == LIMIT
    assert answer.status_code == 201


@named(WRITING)
async def test_another_content_type_is_415(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    for content_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "json",
        "*/*",
    ):
        answer = await send(client, operation, shared, b"{}", Content_Type=content_type)
        assert answer.status_code == 415, content_type
        assert answer.json()["error"]["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        "application/merge-patch+json",
    ],
)
async def test_kinds_of_json_are_taken(client: httpx.AsyncClient, tenant: Tenant, content_type: str) -> None:
    headers = {**tenant.headers, "Content-Type": content_type}
    answer = await client.post("/v1/end-users", content=b"{}", headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (b"application/\xa0+json", 400),
        (b"application/json\xc2\xa0", 400),
        (b"application/a b+json", 415),
        (b"application/+json", 415),
    ],
)
async def test_what_is_no_media_type_is_no_kind_of_json(
    client: httpx.AsyncClient, tenant: Tenant, content_type: bytes, status: int
) -> None:
    headers = [(b"content-type", content_type), (b"authorization", tenant.headers["Authorization"].encode())]
    answer = await client.post("/v1/end-users", content=b"{}", headers=headers)
    assert answer.status_code == status
    assert status == 415 or answer.json()["error"]["param"] == "Content-Type"


async def test_no_content_type_is_json_and_no_body_an_empty_object(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    for content in (b'{"name":"Jane"}', b""):
        request = client.build_request("POST", "/v1/end-users", content=content, headers=tenant.headers)
        request.headers.pop("content-type", None)
        answer = await client.send(request)
        assert answer.status_code == 201
        assert answer.json()["name"] == ("Jane" if content else None)


@named([each for each in OPERATIONS if each.query is not NoQuery])
async def test_a_bad_query_is_400(client: httpx.AsyncClient, shared: Resources, operation: Operation) -> None:
    request = call(operation, shared)
    for query in ("x=%ff", "x=%ed%a0%80", "x=%00", "&".join(f"a{n}=1" for n in range(200))):
        answer = await client.request(
            request.method, f"{request.path}?{query}", headers=bearer_of(operation, shared)
        )
        assert answer.status_code == 400, query
        assert answer.json()["error"]["code"] == "invalid_request"
    for query in ("limit=0", "limit=101", "limit=x", "offset=-1", "cursor=x", "cursor=%C3%A4"):
        name = query.partition("=")[0]
        if name in operation.query.__struct_fields__:
            answer = await client.get(f"{request.path}?{query}", headers=bearer_of(operation, shared))
            assert answer.status_code == 400, query
            assert answer.json()["error"]["param"] == name


@named([each for each in OPERATIONS if each.method == "GET"])
async def test_unknown_headers_are_ignored(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    path, headers = call(operation, shared).path, bearer_of(operation, shared)
    strange = {**headers, "X-Nobody-Knows": "1", "Cookie": "a=b", "If-None-Match": "*"}
    answer = await client.get(path, headers=strange)
    assert answer.status_code == operation.status


@named([each for each in OPERATIONS if each.method == "POST"])
async def test_a_malformed_idempotency_key_is_400(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    content = json.dumps(call(operation, shared).body or {}).encode()
    for key in ("", "a b", "a.b", "x" * 256, "\xe4"):
        answer = await client.request(
            "POST",
            call(operation, shared).path,
            content=content,
            headers={**bearer_of(operation, shared), b"Idempotency-Key": key.encode("latin-1")},  # pyright: ignore[reportArgumentType]
        )
        assert answer.status_code == 400, key
        assert answer.json()["error"]["param"] == "Idempotency-Key"


@named(OPERATIONS)
async def test_a_version_that_is_no_date_is_400_and_a_date_is_echoed(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    request = call(operation, shared)
    headers = bearer_of(operation, shared)
    for version in (
        "",
        "yesterday",
        "2026-1-15",
        "2026-02-30",
        "20260115",
        "0000-01-01",
        "2026-01-15T00:00:00Z",
    ):
        answer = await client.request(
            request.method, request.path, json=request.body, headers={**headers, "Bota-Version": version}
        )
        assert answer.status_code == 400, version
        assert answer.json()["error"]["param"] == "Bota-Version"
        assert "bota-version" not in answer.headers
    if operation.method == "GET":
        answer = await client.get(request.path, headers={**headers, "Bota-Version": "2026-01-15"})
        assert answer.status_code == operation.status
        assert answer.headers["bota-version"] == "2026-01-15"


@named([each for each in OPERATIONS if each.method == "GET"])
async def test_head_answers_as_get_does_without_a_body(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    request = call(operation, shared)
    headers = bearer_of(operation, shared)
    got, head = (
        await client.get(request.path, headers=headers),
        await client.head(request.path, headers=headers),
    )
    assert head.status_code == got.status_code == operation.status
    assert head.content == b""
    for name in ("content-type", "content-length", "cache-control"):
        assert head.headers.get(name) == got.headers.get(name)


async def test_metadata_is_an_empty_object_unless_given(client: httpx.AsyncClient, shared: Resources) -> None:
    for kind in ("end-users", "devices", "recordings"):
        rows = (await client.get(f"/v1/{kind}", headers=shared.tenant.headers)).json()["data"]
        assert [each["metadata"] for each in rows] == [{}] * len(rows) != []


async def test_head_changes_nothing(client: httpx.AsyncClient, shared: Resources, ports: Ports) -> None:
    before = await contents(ports, shared.tenant.test_world)
    for operation in [each for each in OPERATIONS if each.method == "GET"]:
        answer = await client.head(call(operation, shared).path, headers=bearer_of(operation, shared))
        assert answer.status_code == operation.status
    assert await contents(ports, shared.tenant.test_world) == before


async def test_errors_come_as_problems_to_who_asks(client: httpx.AsyncClient, tenant: Tenant) -> None:
    headers = {**tenant.headers, "Accept": "application/problem+json"}
    answer = await client.post("/v1/devices", json={"serial_number": 1}, headers=headers)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 400
    assert problem["code"] == "invalid_request"
    assert problem["param"] == "serial_number"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert {"type", "title", "detail", "details"} <= set(problem)
    for method, path in (("GET", "/v1/nothing"), ("BREW", "/v1/devices"), ("GET", "/v1/devices/dev_1")):
        refused = await client.request(method, path, headers=headers)
        if refused.status_code != 400:
            assert refused.headers["content-type"] == "application/problem+json"
    fine = await client.get("/v1/devices", headers=headers)
    assert fine.headers["content-type"] == "application/json"


async def test_the_order_of_checks_is_route_token_scope_then_body(
    client: httpx.AsyncClient, shared: Resources
) -> None:
    bad = {"content": b"\xff", "headers": {"Content-Type": "text/plain"}}
    assert (await client.post("/v1/nothing", **bad)).status_code == 404
    assert (await client.put("/v1/devices", **bad)).status_code == 405
    assert (await client.post("/v1/devices", **bad)).status_code == 401
    bad["headers"]["Authorization"] = f"Bearer {shared.device.token}"
    assert (await client.post("/v1/devices", **bad)).status_code == 403
    bad["headers"]["Authorization"] = f"Bearer {shared.tenant.test_key}"
    assert (await client.post("/v1/devices", **bad)).status_code == 415
    bad["headers"]["Content-Type"] = "application/json"
    assert (await client.post("/v1/devices", **bad)).status_code == 400


async def test_of_two_equal_keys_the_last_one_wins(client: httpx.AsyncClient, tenant: Tenant) -> None:
    headers = {**tenant.headers, "Content-Type": "application/json"}
    answer = await client.post("/v1/end-users", content=b'{"name":"a","name":"b"}', headers=headers)
    assert answer.json()["name"] == "b"


@pytest.mark.parametrize("encoding", ["identity", "gzip", "br, gzip;q=0.5", "*"])
async def test_answers_are_never_compressed(client: httpx.AsyncClient, tenant: Tenant, encoding: str) -> None:
    for path in ("/v1/openapi.json", "/docs", "/v1/recordings"):
        answer = await client.get(path, headers={**tenant.headers, "Accept-Encoding": encoding})
        assert answer.status_code == 200
        assert "content-encoding" not in answer.headers


async def test_whatever_text_a_client_stores_comes_back_unchanged(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    texts = [
        "é",
        "e\u0301",
        "\U0001f399",
        "\u202e\u200b",
        "\x01\x1f\x7f",
        "  ",
        "'; DROP TABLE end_users; --",
        "\\u0000",
    ]
    for text in texts:
        body = {"name": text, "metadata": {text[:64]: [text, 1.5, 12345678901234567890, None, True, {}]}}
        made = await client.post("/v1/end-users", json=body, headers=tenant.headers)
        assert made.status_code == 201, made.text
        read = await client.get(f"/v1/end-users/{made.json()['id']}", headers=tenant.headers)
        assert read.json() == made.json()
        assert read.json()["name"] == text
        assert read.json()["metadata"] == body["metadata"]
        for path, more in (
            ("/v1/recordings", {"end_user_id": made.json()["id"]}),
            ("/v1/devices", {"serial_number": f"TEXT{texts.index(text)}"}),
        ):
            other = await client.post(path, json=body | more, headers=tenant.headers)
            assert (other.status_code, other.json()["name"]) == (201, text)
            assert other.json()["metadata"] == body["metadata"]
