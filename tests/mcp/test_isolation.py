"""Every kind of token with every tool: nobody reaches what is another project's, world's or end user's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from lapel.slices.mcp.tool_table import TABLE, ToolEntry
from tests.contract.resources import Resources, populate
from tests.mcp.clients import Raw, error_of, message, raw
from tests.support.client import api_client
from tests.support.declared import declared_operations
from tests.support.populated import populated
from tests.support.running import Running
from tests.support.tenants import Tenant, make_key, make_tenant

OPERATIONS = {each.name: each for each in declared_operations()}
# Arguments of operations that are not ids.
MORE: dict[str, dict[str, Any]] = {
    "test_webhook": {"type": "recording.uploaded"},
    "create_summary": {"template_id": "tmpl_general_notes"},
    "search_recordings": {"query": "What was said?"},
    "create_ask_session": {"content": "What was said?"},
}


@pytest.fixture(scope="module")
async def things(live: Running) -> Resources:
    return await populated(live)


@pytest.fixture(scope="module")
async def outsider(live: Running) -> Tenant:
    return await make_tenant(live.ports)


def arguments(entry: ToolEntry, things: Resources) -> dict[str, Any]:
    """Arguments with which the owner's call succeeds, or fails for its state only."""
    operation = OPERATIONS[entry.operation]
    ids = things.ids(operation)
    fields = {*operation.query.__struct_encode_fields__, *operation.body.__struct_encode_fields__}
    names = ("recording_id", "end_user_id", "device_id", "transcription_id")
    named = {name: ids[name] for name in names if name in fields and name not in entry.hidden}
    own = {"id": ids[operation.parameters[0]]} if operation.parameters else {}
    return {**named, **own, **MORE.get(entry.operation, {})}


def tokens(things: Resources, outsider: Tenant) -> Iterator[tuple[str, str]]:
    """Every kind of token that is somebody else's."""
    yield "another project's secret key", outsider.test_key
    yield "the live world's secret key", things.tenant.live_key
    yield "a key of another end user", things.other_scoped_key
    yield "another end user's token", things.other_end_user.token


@pytest.mark.parametrize("kind", ["device", "upload"])
async def test_devices_and_uploads_have_no_tools(live: Running, things: Resources, kind: str) -> None:
    async with raw(live.url, things.token(kind, OPERATIONS["get_device"])) as http:
        for each in (message("tools/list"), *(message("tools/call", {"name": it.name}) for it in TABLE)):
            answer = await http.post(each)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


async def test_nobody_gets_what_is_not_theirs(live: Running, things: Resources, outsider: Tenant) -> None:
    for described, token in tokens(things, outsider):
        async with raw(live.url, token) as http:
            admitted = {each["name"] for each in (await http.ask("tools/list"))["tools"]}
            for entry in TABLE:
                result = await http.call(entry.name, **arguments(entry, things))
                case = f"{described}: {entry.name}"
                if entry.name not in admitted:
                    assert error_of(result)["code"] == "forbidden", case
                elif (
                    OPERATIONS[entry.operation].parameters
                    or entry.name.startswith("create_")
                    or result.get("isError")
                ):
                    assert error_of(result)["code"] == "not_found", case
                else:
                    _shows_nothing(result, things, case)


def _shows_nothing(result: Any, things: Resources, case: str) -> None:
    text = result["content"][0]["text"]
    assert [each for each in things.everything if each in text] == [], case


async def test_a_transcription_is_made_once_for_each_idempotency_key(live: Running) -> None:
    async with api_client(live.url) as client:
        own = await populate(client, live.ports)
        before = await _transcribed(client, own)
    call = {"name": "create_transcription", "arguments": {"recording_id": own.recordings["uploaded"].id}}
    async with raw(live.url, own.tenant.test_key) as http:
        first = await http.ask("tools/call", call, Idempotency_Key="one")
        assert first["structuredContent"]["status"] == "pending"
        assert await http.ask("tools/call", call, Idempotency_Key="one") == first
        other = {**call, "arguments": {**call["arguments"], "diarization": False}}
        reused = await http.ask("tools/call", other, Idempotency_Key="one")
        assert error_of(reused)["code"] == "idempotency_key_reused"
        assert error_of(await http.ask("tools/call", call))["code"] == "transcription_in_progress"
    async with api_client(live.url) as client:
        assert await _transcribed(client, own) == before + 1


async def _transcribed(client: httpx.AsyncClient, own: Resources) -> int:
    """How many transcriptions the audit log tells of."""
    path = "/v1/audit-log?action=transcription.created"
    return len((await client.get(path, headers=own.tenant.headers)).json()["data"])


async def test_a_summary_is_made_as_the_route_makes_it(live: Running, things: Resources) -> None:
    transcript = {"transcription_id": things.transcription_id}
    async with raw(live.url, things.tenant.test_key) as http, api_client(live.url) as client:
        made = (await http.call("create_summary", template="general", **transcript))["structuredContent"]
        read = await client.get(f"/v1/summaries/{made['id']}", headers=things.tenant.headers)
        assert made == read.json()
        assert made["template_id"] == "tmpl_general_notes"
        both = {"template": "general", "prompt": "Write it down in a few words."}
        assert (await http.refused("create_summary", **both, **transcript))["code"] == "invalid_request"
        unknown = await http.refused("create_summary", template_id="tmpl_nothing", **transcript)
        assert (unknown["code"], unknown["param"]) == ("invalid_request", "template_id")


async def test_the_owner_gets_all_of_it(live: Running, things: Resources) -> None:
    """Without this, the tests above could not fail."""
    async with raw(live.url, things.tenant.test_key) as http:
        for entry in TABLE:
            if "key" in entry.callers:
                result = await http.call(entry.name, **arguments(entry, things))
                code = error_of(result)["code"] if result.get("isError") else ""
                assert code not in ("not_found", "forbidden", "invalid_request"), entry.name
    async with raw(live.url, things.end_user.token) as http:
        for entry in TABLE:
            if "end_user" in entry.callers:
                assert not (await http.call(entry.name, **arguments(entry, things))).get("isError"), (
                    entry.name
                )


async def test_an_end_users_token_has_no_other_tools(live: Running, things: Resources) -> None:
    async with raw(live.url, things.end_user.token) as http:
        listed = {each["name"] for each in (await http.ask("tools/list"))["tools"]}
        assert listed == {each.name for each in TABLE if "end_user" in each.callers}
        for entry in TABLE:
            if entry.name not in listed:
                error = await http.refused(entry.name, **arguments(entry, things))
                assert error["code"] == "forbidden", entry.name
        asked = await http.refused("list_my_recordings", end_user_id=things.other_end_user.id)
        assert (asked["code"], asked["param"]) == ("invalid_request", "end_user_id")
        page = await http.call("list_my_recordings")
        assert {each["end_user_id"] for each in page["structuredContent"]["data"]} == {things.end_user.id}


async def test_a_key_of_one_end_user_sees_only_theirs(live: Running, things: Resources) -> None:
    key = await make_key(live.ports, things.tenant.test_world, "rk_test", end_user_id=things.end_user.id)
    async with raw(live.url, key) as http:
        listed = {each["name"] for each in (await http.ask("tools/list"))["tools"]}
        assert "list_webhooks" not in listed
        assert "get_fleet_stats" in listed
        users = (await http.call("list_end_users"))["structuredContent"]["data"]
        assert [each["id"] for each in users] == [things.end_user.id]
        assert (await http.refused("get_end_user", id=things.other_end_user.id))["code"] == "not_found"


async def test_a_revoked_token_ends_at_the_next_message(live: Running, things: Resources) -> None:
    async with api_client(live.url) as client, raw(live.url, things.other_end_user.token) as http:
        await _lists(http)
        path = f"/v1/end-users/{things.other_end_user.id}/token"
        assert (await client.delete(path, headers=things.tenant.headers)).status_code == 204
        assert (await http.post(message("tools/list"))).status_code == 401


async def _lists(http: Raw) -> None:
    assert (await http.ask("tools/list"))["tools"]
