"""Giving commands, reading them, taking them back."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from lapel.slices.commands.json_text import MAX_LEVELS
from lapel.slices.commands.service import MAX_OPEN
from tests.commands.support import Wearer, ids, message

NULLS = {"result", "error", "delivered_at", "executed_at"}
FIELDS = NULLS | {
    "id",
    "device_id",
    "project_id",
    "end_user_id",
    "type",
    "status",
    "params",
    "grant_token",
    "expires_at",
    "created_at",
}


def nested(levels: int) -> dict[str, Any]:
    """An object within an object within…"""
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


MANY = {str(number): number for number in range(51)}


async def test_a_new_command_shows_every_field_and_default(wearer: Wearer) -> None:
    made = await wearer.tell()
    assert set(made) == FIELDS
    assert {key for key, value in made.items() if value is None} == NULLS
    assert made["id"].startswith("cmd_")
    assert (made["device_id"], made["project_id"]) == (wearer.device_id, wearer.tenant.project_id)
    assert made["end_user_id"] == wearer.end_user_id
    assert (made["type"], made["status"]) == ("start_recording", "pending")
    assert made["params"] == {"max_duration_sec": 3600, "upload_immediately": True, "metadata": {}}
    assert await wearer.read(made["id"]) == made
    wearer.wait(seconds=299)
    assert (await wearer.read(made["id"]))["status"] == "pending"
    wearer.wait(seconds=1)
    assert await wearer.read(made["id"]) == {**made, "status": "expired"}


@pytest.mark.parametrize("kind", ["start_recording", "stop_recording", "trigger_upload", "factory_reset"])
async def test_every_type_takes_its_params(wearer: Wearer, kind: str) -> None:
    params = {"max_duration_sec": 86_400, "upload_immediately": False, "metadata": {"case": "é🎙", "n": 1.5}}
    made = await wearer.tell(kind, params={**params, "unknown": [1]}, ttl_seconds=86_400, unknown=True)
    assert (made["type"], made["params"]) == (kind, params)
    begins, ends = (datetime.fromisoformat(made[name]) for name in ("created_at", "expires_at"))
    assert ends - begins == timedelta(days=1)


async def test_the_least_of_each_bound_is_taken(wearer: Wearer) -> None:
    for kind, seconds in (("stop_recording", 30), ("trigger_upload", 86_400)):
        made = await wearer.tell(
            kind, params={"max_duration_sec": 1}, ttl_seconds=seconds, idempotency_key=kind[0] * 255
        )
        begins, ends = (datetime.fromisoformat(made[name]) for name in ("created_at", "expires_at"))
        assert (made["params"]["max_duration_sec"], ends - begins) == (1, timedelta(seconds=seconds))


async def test_null_says_nothing(wearer: Wearer) -> None:
    made = await wearer.tell(params=None, idempotency_key=None)
    assert made["params"]["max_duration_sec"] == 3600
    assert (await wearer.tell(params={"metadata": None}))["params"]["metadata"] == {}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "type"),
        ({"type": "self_destruct"}, "type"),
        ({"type": 1}, "type"),
        ({"type": "stop_recording", "params": []}, "params"),
        ({"type": "stop_recording", "params": {"max_duration_sec": 0}}, "params.max_duration_sec"),
        ({"type": "stop_recording", "params": {"max_duration_sec": 86_401}}, "params.max_duration_sec"),
        ({"type": "stop_recording", "params": {"max_duration_sec": 60.5}}, "params.max_duration_sec"),
        ({"type": "stop_recording", "params": {"max_duration_sec": "60"}}, "params.max_duration_sec"),
        ({"type": "stop_recording", "params": {"max_duration_sec": 10**30}}, "params.max_duration_sec"),
        ({"type": "stop_recording", "params": {"upload_immediately": "yes"}}, "params.upload_immediately"),
        ({"type": "stop_recording", "params": {"metadata": "x"}}, "params.metadata"),
        ({"type": "stop_recording", "params": {"metadata": {"a": "x" * 16_384}}}, "params.metadata"),
        ({"type": "stop_recording", "params": {"metadata": MANY}}, "params.metadata"),
        ({"type": "stop_recording", "params": {"metadata": {"k" * 65: 1}}}, "params.metadata"),
        ({"type": "stop_recording", "params": {"metadata": nested(MAX_LEVELS + 1)}}, "params.metadata"),
        ({"type": "stop_recording", "params": {"metadata": {"a": "\0"}}}, "params.metadata.a"),
        ({"type": "stop_recording", "ttl_seconds": 29}, "ttl_seconds"),
        ({"type": "stop_recording", "ttl_seconds": 86_401}, "ttl_seconds"),
        ({"type": "stop_recording", "idempotency_key": ""}, "idempotency_key"),
        ({"type": "stop_recording", "idempotency_key": "x" * 256}, "idempotency_key"),
    ],
)  # fmt: skip
async def test_what_is_out_of_range_is_400_and_named(
    wearer: Wearer, body: dict[str, Any], param: str
) -> None:
    refused = await wearer.ask("POST", "/commands", 400, body)
    assert refused["error"]["code"] == "invalid_request"
    assert refused["error"]["param"] == param
    assert await wearer.list() == []


async def test_the_deepest_and_the_largest_metadata_come_back(wearer: Wearer) -> None:
    deep = await wearer.tell(params={"metadata": nested(MAX_LEVELS)})
    assert (await wearer.read(deep["id"]))["params"]["metadata"] == nested(MAX_LEVELS)
    large = {"a": "x" * (16_384 - len('{"a":""}'))}
    made = await wearer.tell(params={"metadata": large})
    assert (await wearer.poll())[1]["params"]["metadata"] == large
    assert (await wearer.read(made["id"]))["params"]["metadata"] == large


async def test_nesting_beyond_any_parser_is_400(wearer: Wearer) -> None:
    body = '{"type":"stop_recording","params":{"metadata":' + '{"a":' * 20_000 + "1" + "}" * 20_002
    answer = await wearer.client.post(
        f"/v1/devices/{wearer.device_id}/commands",
        content=body,
        headers={**wearer.tenant.headers, "Content-Type": "application/json"},
    )
    assert answer.status_code == 400, answer.text


async def test_an_unbound_device_is_told_nothing(wearer: Wearer) -> None:
    await wearer.unbind()
    refused = await wearer.ask("POST", "/commands", 409, {"type": "stop_recording"})
    assert "not bound" in message(refused)
    assert await wearer.list() == []


async def test_a_device_that_is_not_there_is_404(wearer: Wearer) -> None:
    await wearer.unbind()
    deleted = await wearer.send("DELETE", "")
    assert deleted.status_code == 204
    for method, path, body in (
        ("POST", "/commands", {"type": "stop_recording"}),
        ("GET", "/commands", None),
        ("GET", "/commands/cmd_1", None),
        ("DELETE", "/commands/cmd_1", None),
        ("POST", "/wifi-config/grant", {}),
    ):
        await wearer.ask(method, path, 404, body)


async def test_a_command_of_another_device_is_404(wearer: Wearer) -> None:
    other = await wearer.beside()
    foreign = (await other.tell())["id"]
    await wearer.ask("GET", f"/commands/{foreign}", 404)
    await wearer.cancel(foreign, 404)
    assert message(await wearer.report(foreign, 404), "not_found")
    assert (await other.read(foreign))["status"] == "pending"


async def test_the_bodys_key_gives_the_command_once(wearer: Wearer) -> None:
    body: dict[str, Any] = {"type": "stop_recording", "idempotency_key": "visit 7/stop", "ttl_seconds": 30}
    made = await wearer.ask("POST", "/commands", 201, body)
    assert await wearer.ask("POST", "/commands", 200, body) == made
    same = {**body, "params": {"max_duration_sec": 3600, "metadata": {}}, "ttl_seconds": 60}
    assert await wearer.ask("POST", "/commands", 200, same) == made
    for other in ({"type": "factory_reset"}, {"params": {"metadata": {"a": 1}}}):
        refused = await wearer.ask("POST", "/commands", 422, {**body, **other})
        assert message(refused, "idempotency_key_reused")
    await wearer.poll()
    ended = await wearer.report(made["id"])
    assert await wearer.ask("POST", "/commands", 200, body) == ended
    await wearer.unbind()
    assert await wearer.ask("POST", "/commands", 200, body) == ended
    assert ids(await wearer.list()) == [made["id"]]
    neighbour = await wearer.beside()
    assert (await neighbour.ask("POST", "/commands", 201, body))["id"] != made["id"]


async def test_the_headers_key_replays_the_first_answer(wearer: Wearer) -> None:
    body = {"type": "stop_recording"}
    made = await wearer.send("POST", "/commands", body, **{"Idempotency-Key": "once"})
    await wearer.poll()
    again = await wearer.send("POST", "/commands", body, **{"Idempotency-Key": "once"})
    assert (again.status_code, again.json()) == (201, made.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(await wearer.list()) == 1


async def test_a_device_has_a_hundred_open_commands_at_most(wearer: Wearer) -> None:
    first = await wearer.tell(ttl_seconds=30)
    await asyncio.gather(*(wearer.tell(ttl_seconds=600) for _ in range(MAX_OPEN - 1)))
    assert str(MAX_OPEN) in message(await wearer.ask("POST", "/commands", 409, {"type": "stop_recording"}))
    assert len(await wearer.poll()) == MAX_OPEN
    other = await wearer.beside()
    await other.tell()
    wearer.wait(seconds=30)  # one expires
    second = await wearer.tell()
    await wearer.ask("POST", "/commands", 409, {"type": "stop_recording"})
    await wearer.cancel(second["id"])
    third = await wearer.tell()
    await wearer.poll()
    await wearer.report(third["id"])
    await wearer.tell()
    assert (await wearer.read(first["id"]))["status"] == "expired"


async def test_only_a_pending_command_can_be_cancelled(wearer: Wearer) -> None:
    made = await wearer.tell()
    assert await wearer.cancel(made["id"]) == {**made, "status": "cancelled"}
    assert "`cancelled`" in message(await wearer.cancel(made["id"], 409))
    assert await wearer.poll() == []
    assert "`cancelled`" in message(await wearer.report(made["id"], 409))
    expired = await wearer.tell(ttl_seconds=30)
    wearer.wait(seconds=30)
    assert "`expired`" in message(await wearer.cancel(expired["id"], 409))
    heard = await wearer.tell()
    await wearer.poll()
    assert "`delivered`" in message(await wearer.cancel(heard["id"], 409))
    await wearer.report(heard["id"], status="failed")
    assert "`failed`" in message(await wearer.cancel(heard["id"], 409))
    await wearer.cancel("cmd_nothing", 404)


async def test_the_list_is_filtered_by_what_the_clock_says(wearer: Wearer) -> None:
    made = {
        "expired before it was heard": await wearer.tell(ttl_seconds=30),
        "expired after": await wearer.tell(ttl_seconds=30),
        "executed": await wearer.tell(),
        "failed": await wearer.tell(),
    }
    cancelled = (await wearer.tell())["id"]
    await wearer.cancel(cancelled)
    await wearer.poll()
    named = {name: each["id"] for name, each in made.items()}
    await wearer.report(named["executed"])
    await wearer.report(named["failed"], status="failed")
    delivered = (await wearer.tell(ttl_seconds=600))["id"]
    await wearer.poll()
    pending = (await wearer.tell(ttl_seconds=600))["id"]
    assert await wearer.list(status="expired") == []
    assert set(ids(await wearer.list(status="delivered"))) == {
        delivered,
        named["expired before it was heard"],
        named["expired after"],
    }
    wearer.wait(seconds=30)
    told = {
        "expired": [named["expired after"], named["expired before it was heard"]],
        "executed": [named["executed"]],
        "failed": [named["failed"]],
        "cancelled": [cancelled],
        "delivered": [delivered],
        "pending": [pending],
    }
    for status, expected in told.items():
        found = await wearer.list(status=status)
        assert ids(found) == expected, status
        assert {each["status"] for each in found} == {status}
    every = await wearer.list()
    assert ids(every) == sorted((one for each in told.values() for one in each), reverse=True)
    assert (await wearer.send("GET", "/commands?status=gone")).json()["error"]["param"] == "status"


@pytest.mark.parametrize("status", [None, "expired", "cancelled", "pending"])
async def test_a_walk_sees_everything_once_whatever_is_told_meanwhile(
    wearer: Wearer, status: str | None
) -> None:
    made = [await wearer.tell(ttl_seconds=30 if status == "expired" else 600) for _ in range(7)]
    if status == "cancelled":
        for each in made:
            await wearer.cancel(each["id"])
    if status == "expired":
        wearer.wait(seconds=30)
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 3, **({"status": status} if status else {})}
    while True:
        path = f"/v1/devices/{wearer.device_id}/commands"
        answer = await wearer.client.get(path, params=query, headers=wearer.tenant.headers)
        found = answer.json()
        assert len(found["data"]) <= 3
        seen += ids(found["data"])
        await wearer.tell()
        if not found["has_more"]:
            assert found["next_cursor"] is None
            break
        query["cursor"] = found["next_cursor"]
    assert seen == [each["id"] for each in reversed(made)]


async def test_another_lists_cursor_is_refused(wearer: Wearer) -> None:
    await wearer.beside()
    devices = await wearer.client.get("/v1/devices?limit=1", headers=wearer.tenant.headers)
    refused = await wearer.send("GET", f"/commands?cursor={devices.json()['next_cursor']}")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "cursor")


async def test_the_cursor_of_another_devices_commands_is_refused(wearer: Wearer) -> None:
    """It would pass over what this device was told later."""
    other = await wearer.beside()
    for each in (wearer, other):
        for _ in range(2):
            await each.tell()
    cursor = (await wearer.ask("GET", "/commands?limit=1", 200))["next_cursor"]
    assert len((await wearer.ask("GET", f"/commands?cursor={cursor}", 200))["data"]) == 1
    refused = await other.send("GET", f"/commands?cursor={cursor}")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "cursor")


async def test_a_scoped_key_sees_what_its_own_end_users_device_was_told(wearer: Wearer) -> None:
    first_key = await make_scoped(wearer)
    before = await wearer.tell()
    seen = await wearer.send("GET", "/commands", token=first_key)
    assert ids(seen.json()["data"]) == [before["id"]]
    assert (await wearer.send("GET", f"/commands/{before['id']}", token=first_key)).json() == before
    await wearer.unbind()
    await wearer.bind()
    for path in ("", f"/{before['id']}"):
        assert (await wearer.send("GET", f"/commands{path}", token=first_key)).status_code == 404
    # Who wears it now hears nothing of what it was told before.
    next_key = await make_scoped(wearer)
    after = await wearer.tell()
    seen = await wearer.send("GET", "/commands", token=next_key)
    assert ids(seen.json()["data"]) == [after["id"]]
    assert (await wearer.send("GET", f"/commands/{before['id']}", token=next_key)).status_code == 404
    assert ids(await wearer.list()) == [after["id"], before["id"]]
    for method, path in (("POST", "/commands"), ("DELETE", f"/commands/{after['id']}")):
        refused = await wearer.send(method, path, {"type": "stop_recording"}, next_key)
        assert refused.status_code == 403


async def make_scoped(wearer: Wearer) -> str:
    """A key of the device's present end user."""
    body = {"scopes": ["devices:read"], "end_user_id": wearer.end_user_id}
    made = await wearer.client.post("/v1/api-keys", json=body, headers=wearer.tenant.headers)
    assert made.status_code == 201, made.text
    return made.json()["key"]
