"""The tools: those of the contract, for whom it says, and each one answers what its route answers."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from lapel.foundation.http.calls import NoBody
from lapel.slices.mcp.tool_table import TABLE
from lapel.slices.mcp.toolbox import Toolbox
from tests.mcp.clients import connected, error_of, raw, told
from tests.search.support import Library, segments_of
from tests.support.declared import TOKEN_KINDS, declared_services
from tests.support.running import Running, running
from tests.support.tenants import Tenant, bearer, make_key

CONTRACT = [
    "list_end_users",
    "get_end_user",
    "list_devices",
    "get_device",
    "get_fleet_stats",
    "list_recordings",
    "get_recording",
    "create_transcription",
    "list_transcriptions",
    "get_transcription",
    "create_summary",
    "list_summaries",
    "get_summary",
    "search_recordings",
    "ask",
    "list_webhooks",
    "trigger_webhook_event",
    "list_my_recordings",
    "get_my_recording",
    "list_my_transcriptions",
    "get_my_transcription",
    "list_my_summaries",
    "get_my_summary",
    "search_my_recordings",
    "ask_my_recordings",
]
PAGE = Path(__file__).parents[2] / "docs" / "mcp.md"


def toolbox() -> Toolbox:
    services = declared_services()
    ids = {name: prefix for each in services.slices for name, prefix in each.ids.items()}
    return Toolbox(services.operations, TOKEN_KINDS, ids)


TOOLS = list(toolbox())


def test_the_tools_are_those_of_the_contract() -> None:
    assert [each.name for each in TABLE] == CONTRACT


@pytest.mark.parametrize("tool", TOOLS, ids=lambda each: each.name)
def test_the_schemas_of_a_tool_are_those_that_every_client_takes(tool: Any) -> None:
    for schema in (tool.schemas.arguments, tool.schemas.answer):
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
        assert "#/components" not in json.dumps(schema)
        assert list(_dangling(schema)) == []
    assert not {"anyOf", "oneOf", "allOf", "not", "if"} & set(tool.schemas.arguments)
    for each in (tool.schemas.arguments, *tool.schemas.arguments.get("$defs", {}).values()):
        assert "properties" not in each or each["additionalProperties"] is False
    assert len(tool.description) < 1024


def _dangling(schema: dict[str, Any]) -> Any:
    for part in json.dumps(schema).split('"$ref": "')[1:]:
        name = part.partition('"')[0].removeprefix("#/$defs/")
        if name not in schema.get("$defs", {}):
            yield name


@pytest.mark.parametrize("tool", TOOLS, ids=lambda each: each.name)
def test_a_tool_takes_the_arguments_of_its_operation(tool: Any) -> None:
    operation = tool.operation
    names = {*operation.query.__struct_encode_fields__}
    names |= set() if operation.body is NoBody else {*operation.body.__struct_encode_fields__}
    names |= {"id"} if operation.parameters else set()
    if tool.asking is not None:
        names = (names - {"initial_message"}) | {*tool.asking.body.__struct_encode_fields__, "session_id"}
    names |= {tool.entry.found_by[0]} if tool.entry.found_by else set()
    assert set(tool.schemas.arguments["properties"]) == names - tool.entry.hidden


def test_the_page_has_the_table_of_tools() -> None:
    rows = [
        f"| `{each.name}` | {'end user' if 'end_user' in each.callers else 'key'} |"
        f" `{tool.operation.method} {tool.operation.path}` | {_scope(tool)} |"
        for each, tool in zip(TABLE, TOOLS, strict=True)
    ]
    found = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert found == rows, "\n".join(rows)


def _scope(tool: Any) -> str:
    access = tool.operation.access
    either = [f"`{each}`" for each in (access.scope, access.or_scope) if each is not None]
    return "" if "end_user" in tool.entry.callers else " or ".join(either)


class Made:
    """What a project has, made over HTTP."""

    def __init__(self, client: httpx.AsyncClient, tenant: Tenant) -> None:
        self.client, self.headers = client, tenant.headers

    async def post(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        answer = await self.client.post(f"/v1{path}", json=body, headers=headers or self.headers)
        assert answer.is_success, answer.text
        return answer.json()

    async def get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        answer = await self.client.get(f"/v1{path}", headers=headers or self.headers)
        assert answer.is_success, answer.text
        return answer.json()

    async def person(self, name: str) -> tuple[str, str, str]:
        """An end user, their token and a recording."""
        body = {"external_id": name, "metadata": {"a": None, "b": [1.5]}}
        end_user = (await self.post("/end-users", body))["id"]
        token = (await self.post(f"/end-users/{end_user}/token", {}))["token"]
        return end_user, token, (await self.post("/recordings", {"end_user_id": end_user}))["id"]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_developers_tools_answer_what_the_routes_answer(
    live: Running, client: httpx.AsyncClient, tenant: Tenant, mode: Any
) -> None:
    made = Made(client, tenant)
    end_user, _, recording = await made.person("jane")
    device = (await made.post("/devices", {"serial_number": "PIN12345", "model": "bota_pin"}))["id"]
    hook = (await made.post("/webhooks", {"url": "https://hooks.example/a", "events": ["*"]}))["id"]
    async with connected(live.url, tenant.test_key, mode) as mcp:
        tools = (await mcp.list_tools()).tools
        assert [each.name for each in tools] == [each.name for each in TABLE if "key" in each.callers]
        for tool, arguments, path in (
            ("list_end_users", {}, "/end-users"),
            ("list_end_users", {"external_id": "jane", "limit": 5, "cursor": None}, "/end-users"),
            ("get_end_user", {"id": end_user}, f"/end-users/{end_user}"),
            ("get_end_user", {"end_user_id": end_user}, f"/end-users/{end_user}"),
            ("get_end_user", {"external_id": "jane"}, f"/end-users/{end_user}"),
            ("list_devices", {"status": "unbound", "limit": 1.0}, "/devices"),
            ("get_device", {"id": device}, f"/devices/{device}"),
            ("get_fleet_stats", {}, "/devices/stats"),
            ("list_recordings", {"end_user_id": end_user, "recorded_after": None}, "/recordings"),
            ("get_recording", {"id": recording}, f"/recordings/{recording}"),
            ("list_webhooks", {"limit": 10}, "/webhooks"),
        ):
            result = told(await mcp.call_tool(tool, arguments))
            assert result == await made.get(path), tool
        event = told(await mcp.call_tool("trigger_webhook_event", {"id": hook, "type": "recording.uploaded"}))
        assert event["type"] == "recording.uploaded"
        refused = await mcp.call_tool("create_transcription", {"recording_id": recording})
        assert error_of(refused.model_dump(by_alias=True, exclude_none=True))["code"] == "media_not_uploaded"


async def test_pages_of_a_list_follow_each_other(
    live: Running, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    made = Made(client, tenant)
    ids = [(await made.person(f"user {number}"))[0] for number in range(3)]
    async with raw(live.url, tenant.test_key) as http:
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = (await http.call("list_end_users", limit=1, cursor=cursor))["structuredContent"]
            found += [each["id"] for each in page["data"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
    assert found == ids[::-1]


async def test_a_search_finds_what_the_route_finds(
    live: Running, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    made = Made(client, tenant)
    end_user, token, _ = await made.person("jane")
    _, other, __ = await made.person("joe")
    said = segments_of(["The budget for Kowalski is 40,000 euros.", "We ship in October."])
    recording = await Library(live.ports, tenant).said(end_user, said)
    body = {"query": "the budget of Kowalski", "end_user_id": end_user, "limit": 3}
    async with raw(live.url, tenant.test_key) as http:
        found = (await http.call("search_recordings", **body))["structuredContent"]
        assert found == await made.post("/recordings/search", body)
        assert [each["recording_id"] for each in found["results"]] == [recording]
        assert (await http.refused("search_recordings", query=""))["param"] == "query"
    async with raw(live.url, token) as own, raw(live.url, other) as theirs:
        assert (await own.call("search_my_recordings", query=body["query"]))["structuredContent"] == found
        asked = {"query": body["query"], "recording_ids": [recording]}
        named = await theirs.refused("search_my_recordings", **asked, end_user_id=end_user)
        assert (named["code"], named["param"]) == ("invalid_request", "end_user_id")
        nothing = await theirs.call("search_my_recordings", **asked)
        assert nothing["structuredContent"] == {"results": []}


async def test_questions_are_asked_in_a_session(
    live: Running, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    made = Made(client, tenant)
    end_user, token, recording = await made.person("jane")
    stranger, other, _ = await made.person("joe")
    first = {"content": "When do we ship?", "end_user_id": end_user}
    async with (
        raw(live.url, tenant.test_key) as http,
        raw(live.url, token) as own,
        raw(live.url, other) as theirs,
    ):
        answer = (await http.call("ask", **first))["structuredContent"]
        assert set(answer) == {"session_id", "message", "sources"}
        session = answer["session_id"]
        same = {"scope": {"type": "library"}, "end_user_id": end_user}
        again = await http.call("ask", content="And then?", session_id=session, **same)
        assert again["structuredContent"]["session_id"] == session
        one = {"type": "recording", "recording_id": recording}
        for argument, value in {"scope": one, "end_user_id": stranger}.items():
            refused = await http.refused("ask", content="?", session_id=session, **{argument: value})
            assert (refused["code"], refused["param"]) == ("invalid_request", argument)
        malformed = await http.refused("ask", content="?", session_id=session, scope={"type": "all"})
        assert malformed["param"].startswith("scope")
        page = await made.get(f"/ask/sessions/{session}/messages")
        assert [each["role"] for each in page["data"]] == ["user", "assistant"] * 2
        assert page["data"][1] == answer["message"]
        nested = {
            "initial_message": {"content": "What?"},
            "scope": {"type": "library"},
            "end_user_id": end_user,
        }
        assert (await http.call("ask", **nested))["structuredContent"]["session_id"] != session
        about = {"type": "recording", "recording_id": recording}
        assert (await http.refused("ask", content="What?", scope=about))["code"] == "transcript_not_ready"
        assert (await http.refused("ask", content=""))["param"] == "content"
        assert (await http.refused("ask"))["param"] == "content"
        for one in ({}, {"session_id": session}):
            both = await http.refused("ask", **{**nested, **one, "content": "Who?"})
            assert (both["code"], both["param"]) == ("invalid_request", "initial_message")
        named = (await http.call("ask", **nested, provider="claude"))["structuredContent"]
        assert named["message"]["provider"] == "claude"
        assert (await http.refused("ask", content="What?", session_id=5))["param"] == "session_id"

        mine = (await own.call("ask_my_recordings", content="When do we ship?"))["structuredContent"]
        continued = await own.call("ask_my_recordings", content="And then?", session_id=mine["session_id"])
        assert continued["structuredContent"]["session_id"] == mine["session_id"]
        refused = await theirs.refused("ask_my_recordings", content="And?", session_id=mine["session_id"])
        assert refused["code"] == "not_found"
        about_jane = {"type": "recording", "recording_id": recording}
        assert (await theirs.refused("ask_my_recordings", content="?", scope=about_jane))[
            "code"
        ] == "not_found"
    path = f"/v1/ask/sessions/{mine['session_id']}/messages"
    direct = await client.post(path, json={"content": "What?"}, headers=bearer(token))
    assert direct.status_code == 403, "over HTTP, an end user's token reads"


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "param"),
    [
        ("get_end_user", {}, "invalid_request", "id"),
        ("get_end_user", {"id": "eu_1", "external_id": "a"}, "invalid_request", "external_id"),
        ("get_end_user", {"external_id": "nobody"}, "not_found", "external_id"),
        ("get_end_user", {"external_id": {"$ne": ""}}, "invalid_request", "external_id"),
        ("get_end_user", {"external_id": "a\0"}, "invalid_request", "external_id"),
        ("get_device", {"id": 5}, "invalid_request", "id"),
        ("get_device", {"id": ["dev_1"]}, "invalid_request", "id"),
        ("get_device", {"id": "stats"}, "not_found", None),
        ("get_device", {"id": "dev_1/commands"}, "not_found", None),
        ("get_device", {"id": "../recordings"}, "not_found", None),
        ("get_device", {"id": "dev_1?x=1"}, "not_found", None),
        ("get_device", {"id": "rec_1"}, "not_found", None),
        ("get_device", {"id": ""}, "not_found", None),
        ("list_recordings", {"enduser_id": "eu_1"}, "invalid_request", "enduser_id"),
        ("list_recordings", {"end_user_id": ""}, "invalid_request", "end_user_id"),
        ("get_fleet_stats", {"nonsense": None}, "invalid_request", "nonsense"),
        ("get_device", {"id": "dev_1", "": 1}, "invalid_request", None),
        ("ask", {"content": "?", "stream": True}, "invalid_request", "stream"),
        ("ask", {"content": "?", "scope": {"type": "library", "x": 1}}, "invalid_request", "scope.x"),
        ("create_transcription", {"recording_id": "rec_1", "vocab": []}, "invalid_request", "vocab"),
        ("list_devices", {"limit": "5"}, "invalid_request", "limit"),
        ("list_devices", {"limit": 0}, "invalid_request", "limit"),
        ("list_devices", {"limit": True}, "invalid_request", "limit"),
        ("list_devices", {"limit": 1e300}, "invalid_request", "limit"),
        ("list_devices", {"cursor": "x"}, "invalid_request", "cursor"),
        ("list_recordings", {"recorded_after": "yesterday"}, "invalid_request", "recorded_after"),
        ("create_transcription", {}, "invalid_request", "recording_id"),
        ("create_transcription", {"recording_id": None}, "invalid_request", "recording_id"),
        ("create_transcription", {"recording_id": "rec_1", "provider": "x"}, "invalid_request", "provider"),
        ("trigger_webhook_event", {"id": "wh_1"}, "invalid_request", "type"),
        ("list_my_recordings", {}, "forbidden", None),
    ],
)
async def test_a_refused_call_is_an_error_of_the_tool(
    live: Running, tenant: Tenant, tool: str, arguments: dict[str, Any], code: str, param: str | None
) -> None:
    async with raw(live.url, tenant.test_key) as http:
        error = await http.refused(tool, **arguments)
    assert (error["code"], error.get("param")) == (code, param)
    assert error["request_id"].startswith("req_")
    assert error["message"]


async def test_a_model_hears_which_argument_was_meant(live: Running, tenant: Tenant) -> None:
    async with raw(live.url, tenant.test_key) as http:
        error = await http.refused("list_recordings", enduser_id="eu_1")
    assert error["message"] == "The tool has no argument `enduser_id`. Did you mean `end_user_id`?"


async def test_a_restricted_key_has_the_tools_of_its_scopes(live: Running, tenant: Tenant) -> None:
    key = await make_key(
        live.ports, tenant.test_world, "rk_test", scopes=("recordings:read", "webhooks:read")
    )
    async with raw(live.url, key) as http:
        listed = [each["name"] for each in (await http.ask("tools/list"))["tools"]]
        assert set(listed) & set(CONTRACT[:8]) == {"list_recordings", "get_recording"}
        assert "list_webhooks" in listed
        assert not {"create_transcription", "trigger_webhook_event"} & set(listed)
        for each in TABLE:
            if "key" in each.callers and each.name not in listed:
                assert (await http.refused(each.name))["code"] == "forbidden"
        assert "`devices:read`" in (await http.refused("list_devices"))["message"]
    bare = await make_key(live.ports, tenant.test_world, "rk_test", scopes=())
    async with raw(live.url, bare) as http:
        assert await http.ask("tools/list") == {"tools": []}


async def test_hints_say_what_a_tool_may_change(live: Running, tenant: Tenant) -> None:
    async with raw(live.url, tenant.test_key) as http:
        hints = {each["name"]: each["annotations"] for each in (await http.ask("tools/list"))["tools"]}
    reading = {name for name, each in hints.items() if each["readOnlyHint"]}
    writing = {"create_transcription", "create_summary", "ask", "trigger_webhook_event"}
    assert reading == set(hints) - writing
    assert not any(each["destructiveHint"] for each in hints.values())
    assert [name for name, each in hints.items() if each["openWorldHint"]] == ["trigger_webhook_event"]


async def test_the_command_of_a_token_connects_as_pasted(
    live: Running, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    made = Made(client, tenant)
    end_user, _, recording = await made.person("jane")
    command = (await made.post(f"/end-users/{end_user}/token", {}))["connection_command"]
    program, mcp, add, transport, http, name, url, flag, header = shlex.split(command)
    assert (program, mcp, add, transport, http, name, flag) == (
        "claude", "mcp", "add", "--transport", "http", "lapel", "--header",
    )  # fmt: skip
    field, _, token = header.partition(": Bearer ")
    assert url == f"{live.url}/mcp"
    async with connected(url.removesuffix("/mcp"), token, name=field) as own:
        tools = [each.name for each in (await own.list_tools()).tools]
        assert tools == [each.name for each in TABLE if "end_user" in each.callers]
        listed = told(await own.call_tool("list_my_recordings", {"limit": 3}))
        assert [each["id"] for each in listed["data"]] == [recording]
        got = told(await own.call_tool("get_my_recording", {"id": recording}))
        assert got == await made.get(f"/recordings/{recording}", bearer(token))


async def test_the_requests_of_a_client_may_reach_any_process(
    live: Running, client: httpx.AsyncClient, tenant: Tenant, tmp_path: Path
) -> None:
    end_user, _, __ = await Made(client, tenant).person("jane")
    database = live.settings.database_url
    assert database is not None
    async with (
        running(tmp_path / "second", database) as second,
        raw(live.url, tenant.test_key) as one,
        raw(second.url, tenant.test_key) as other,
    ):
        for first, then in ((one, other), (other, one)):
            initialized = await first.ask("initialize", {"protocolVersion": "2025-06-18", **_client()})
            assert initialized["serverInfo"]["name"] == "lapel"
            assert len((await then.ask("tools/list"))["tools"]) > 5
            assert (await first.call("get_end_user", id=end_user))["structuredContent"]["id"] == end_user
            assert (await then.call("get_end_user", id=end_user))["structuredContent"]["id"] == end_user


def _client() -> dict[str, Any]:
    return {"capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
