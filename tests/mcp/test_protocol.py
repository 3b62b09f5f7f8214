"""The protocol over raw HTTP: what the Inspector sends, and what nobody should."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from prometheus_client import generate_latest

from lapel import __version__
from lapel.foundation.telemetry import ANSWERS
from lapel.slices.mcp.tool_table import TABLE
from tests.mcp.clients import INITIALIZE, REVISION, Raw, message, raw
from tests.support.running import Running
from tests.support.tenants import Tenant
from tests.support.transport import loopback_client

MODERN = "2026-07-28"
META = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    }
}


@pytest.fixture
async def http(live: Running, tenant: Tenant) -> AsyncGenerator[Raw]:
    async with raw(live.url, tenant.test_key) as opened:
        yield opened


async def test_an_inspectors_session(http: Raw) -> None:
    answer = await http.post(message("initialize", INITIALIZE))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert "mcp-session-id" not in answer.headers, "any process may answer the next request"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"].startswith("req_")
    result = answer.json()["result"]
    assert result["protocolVersion"] == REVISION
    assert result["serverInfo"] == {"name": "lapel", "title": "Lapel", "version": __version__}
    assert result["capabilities"] == {"tools": {"listChanged": False}}

    known = {"MCP_Protocol_Version": REVISION}
    initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    accepted = await http.post(initialized, **known)
    assert (accepted.status_code, accepted.content) == (202, b"")
    assert accepted.headers.get("content-type") is None

    listed = await http.ask("tools/list", {"_meta": {"progressToken": 1}})
    assert [each["name"] for each in listed["tools"]] == [
        each.name for each in TABLE if "key" in each.callers
    ]
    called = await http.call("list_end_users", limit=2)
    assert called["structuredContent"] == {"data": [], "has_more": False, "next_cursor": None}
    assert json.loads(called["content"][0]["text"]) == called["structuredContent"]
    assert await http.ask("ping") == {}


@pytest.mark.parametrize("asked", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_a_known_revision_is_spoken(http: Raw, asked: str) -> None:
    result = (await http.post(message("initialize", {**INITIALIZE, "protocolVersion": asked}))).json()[
        "result"
    ]
    assert result["protocolVersion"] == asked
    assert "tools" in await http.ask("tools/list", MCP_Protocol_Version=asked)


async def test_an_unknown_revision_is_answered_with_one_that_is_spoken(http: Raw) -> None:
    asked = {**INITIALIZE, "protocolVersion": "1999-01-01"}
    result = (await http.post(message("initialize", asked))).json()["result"]
    assert result["protocolVersion"] == "2025-11-25"
    refused = await http.post(message("ping"), MCP_Protocol_Version="1999-01-01")
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] < 0


async def test_the_revision_without_a_handshake_is_spoken(http: Raw) -> None:
    listed = await http.ask("tools/list", META, MCP_Protocol_Version=MODERN, Mcp_Method="tools/list")
    assert listed["tools"][0]["name"] == "list_end_users"
    assert (listed["ttlMs"], listed["cacheScope"]) == (0, "private"), "each token has tools of its own"
    call = {"name": "get_fleet_stats", "arguments": {}, **META}
    headers = {"MCP_Protocol_Version": MODERN, "Mcp_Method": "tools/call", "Mcp_Name": "get_fleet_stats"}
    assert (await http.ask("tools/call", call, **headers))["structuredContent"]["total_count"] == 0
    unknown = await http.post(message("nope", META), MCP_Protocol_Version=MODERN, Mcp_Method="nope")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, -32601)


async def test_a_client_that_takes_only_events_gets_events(http: Raw) -> None:
    answer = await http.post(message("ping"), Accept="text/event-stream")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
    lines = answer.text.splitlines()
    assert lines[0] == "event: message"
    assert json.loads(lines[1].removeprefix("data: ")) == {"jsonrpc": "2.0", "id": 7, "result": {}}
    call = message("tools/call", {"name": "list_devices"})
    listed = await http.post(call, Accept="text/event-stream")
    assert '"has_more":false' in listed.text


@pytest.mark.parametrize("accept", ["application/json", "*/*", "application/json;q=0.5, text/*", "text/html"])
async def test_any_other_client_gets_json(http: Raw, accept: str) -> None:
    answer = await http.post(message("ping"), Accept=accept)
    assert (answer.status_code, answer.json()["result"]) == (200, {})


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, -32700),
        (b"{", 400, -32700),
        (b'"\xff"', 400, -32700),
        (b"[" * 100_000, 400, -32700),
        (b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}', 400, -32700),
        (b"5", 400, -32600),
        ([message("ping"), message("ping")], 400, -32600),
        (message("ping") | {"jsonrpc": "1.0"}, 400, -32600),
        (message("ping") | {"id": None}, 400, -32600),
        (message("ping") | {"id": True}, 400, -32600),
        (message("ping") | {"id": 1.5}, 400, -32600),
        (message("ping") | {"id": {}}, 400, -32600),
        ({"jsonrpc": "2.0", "id": 7}, 400, -32600),
        ({"jsonrpc": "2.0", "id": 7, "method": 5}, 400, -32600),
        (message("ping") | {"params": []}, 400, -32600),
        (message("nope"), 200, -32601),
        (message("resources/list"), 200, -32601),
        (message("tools/call"), 200, -32602),
        (message("tools/call", {"name": 5}), 200, -32602),
        (message("tools/call", {"name": "nope"}), 200, -32602),
        (message("tools/call", {"name": "ping", "arguments": []}), 200, -32602),
        (message("tools/list", {"cursor": "x"}), 200, -32602),
        (message("initialize", {}), 200, -32602),
    ],
)
async def test_what_is_no_good_message_is_refused(http: Raw, body: Any, status: int, code: int) -> None:
    answer = await http.post(body, MCP_Protocol_Version=REVISION)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert answer.json()["id"] == (7 if status == 200 else None)
    assert "pydantic" not in answer.text
    assert len(answer.content) < 300


@pytest.mark.parametrize(
    "params", [None, {}, {"requestId": []}, {"requestId": 7}, {"progressToken": {}, "progress": "x"}]
)
@pytest.mark.parametrize("method", ["notifications/cancelled", "notifications/progress", "notifications/x"])
async def test_a_notification_is_accepted_and_forgotten(
    http: Raw, method: str, params: Any, caplog: pytest.LogCaptureFixture
) -> None:
    notification = {"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params})
    for revision in (REVISION, MODERN):
        answer = await http.post(notification, MCP_Protocol_Version=revision)
        assert (answer.status_code, answer.content) == (202, b"")
    assert await http.ask("ping") == {}
    assert [each for each in caplog.records if each.name.startswith("mcp")] == []


async def test_ids_are_answered_as_they_came(http: Raw) -> None:
    for each in (0, -1, 2**53, "", "a b", "\u00e4"):
        answer = await http.post(message("ping") | {"id": each})
        assert answer.json()["id"] == each
    answered = {"jsonrpc": "2.0", "id": 7, "result": {}}
    assert (await http.post(answered)).status_code == 202, "a server without sessions waits for no answer"
    equal = b'{"jsonrpc":"2.0","id":1,"id":2,"method":"nope","method":"ping"}'
    assert (await http.post(equal)).json() == {"jsonrpc": "2.0", "id": 2, "result": {}}


async def test_bodies_have_the_limits_of_every_route(http: Raw, live: Running) -> None:
    large = await http.post(message("ping", {"a": "x" * live.settings.body_limit}))
    assert (large.status_code, large.json()["error"]["code"]) == (413, "payload_too_large")
    typed = await http.post(message("ping"), Content_Type="text/plain")
    assert (typed.status_code, typed.json()["error"]["code"]) == (415, "unsupported_media_type")
    dated = await http.post(message("ping"), Bota_Version="soon")
    assert (dated.status_code, dated.json()["error"]["param"]) == (400, "Bota-Version")
    echoed = await http.post(message("ping"), Bota_Version="2026-01-15")
    assert echoed.headers["bota-version"] == "2026-01-15"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PUT", "PATCH"])
async def test_there_is_no_session_to_listen_to_or_to_end(live: Running, tenant: Tenant, method: str) -> None:
    async with loopback_client() as client:
        headers = {**tenant.headers, "Accept": "text/event-stream", "Mcp-Session-Id": "x"}
        answer = await client.request(method, f"{live.url}/mcp", headers=headers)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("token", [None, "sk_test_nobody", "nonsense"])
async def test_without_a_good_token_everything_is_401(live: Running, token: str | None) -> None:
    async with raw(live.url, token) as http:
        for body in (message("initialize", INITIALIZE), message("tools/list"), b"{"):
            answer = await http.post(body)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert answer.json()["error"]["code"] == "unauthorized"


async def test_pages_of_other_sites_are_refused(http: Raw, live: Running) -> None:
    for origin in (
        "https://evil.example",
        "null",
        "http://127.0.0.1.evil.example",
        "http://[",
        "x",
        "http://evil@127.0.0.1",
        "http://127.0.0.1@evil.example",
        "http://localhost/evil",
        "http://localhost?evil",
    ):
        refused = await http.post(message("ping"), Origin=origin)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden"), origin
    for origin in (live.url, "http://localhost:6274"):
        assert (await http.post(message("ping"), Origin=origin)).status_code == 200


async def test_metrics_count_the_messages_and_the_routes_behind_them(http: Raw) -> None:
    def count(operation: str) -> float:
        ANSWERS.write()
        lines = generate_latest().decode().splitlines()
        begins = f'lapel_http_request_seconds_count{{operation="{operation}",status="200"}} '
        return sum(float(each.removeprefix(begins)) for each in lines if each.startswith(begins))

    before = count("mcp"), count("list_devices")
    await http.call("list_devices")
    assert (count("mcp"), count("list_devices")) == (before[0] + 1, before[1] + 1)
