"""From the server to the device and back: at most one effect, whatever is lost on the way."""

from __future__ import annotations

from typing import Any

import pytest

from lapel.slices.commands.json_text import MAX_LEVELS
from tests.commands.support import Wearer, ids, message
from tests.commands.test_commands import nested
from tests.support.erasing import delete_rows
from tests.support.running import Running


async def test_what_is_fetched_is_delivered_and_listed_until_it_is_reported(wearer: Wearer) -> None:
    first = await wearer.tell("start_recording", ttl_seconds=600)
    wearer.wait(seconds=1)
    second = await wearer.tell("stop_recording", ttl_seconds=30)
    fetched = await wearer.poll()
    assert ids(fetched) == [first["id"], second["id"]]  # oldest first: that is how they are carried out
    at = fetched[0]["delivered_at"]
    assert fetched == [{**each, "status": "delivered", "delivered_at": at} for each in (first, second)]
    wearer.wait(seconds=10)
    third = await wearer.tell("trigger_upload", ttl_seconds=600)
    again = await wearer.poll()
    assert again[:2] == fetched
    assert again[2]["id"] == third["id"]
    assert again[2]["delivered_at"] != at
    wearer.wait(seconds=20)  # the second one expires
    assert ids(await wearer.poll()) == [first["id"], third["id"]]
    await wearer.report(first["id"])
    assert ids(await wearer.poll()) == [third["id"]]


async def test_me_is_the_device_and_nobody_else_is(wearer: Wearer) -> None:
    other = await wearer.beside()
    made = await wearer.tell()
    for method, path, body in (
        ("GET", "/commands/pending", None),
        ("POST", f"/commands/{made['id']}/ack", {"status": "executed"}),
    ):
        refused = await wearer.ask(method, path, 403, body, other.token)
        assert message(refused, "forbidden")
        mine = await wearer.client.request(
            method, f"/v1/devices/me{path}", json=body, headers={"Authorization": f"Bearer {wearer.token}"}
        )
        assert mine.status_code == 200, mine.text
    assert (await wearer.read(made["id"]))["status"] == "executed"


async def test_head_delivers_nothing(wearer: Wearer) -> None:
    made = await wearer.tell()
    looked = await wearer.send("HEAD", "/commands/pending", token=wearer.token)
    assert (looked.status_code, looked.content) == (200, b"")
    assert await wearer.read(made["id"]) == made
    await wearer.poll()
    assert (await wearer.read(made["id"]))["status"] == "delivered"


@pytest.mark.parametrize("status", ["executed", "failed"])
async def test_a_report_is_kept_and_answered_the_same_again(wearer: Wearer, status: str) -> None:
    made = await wearer.tell()
    (heard,) = await wearer.poll()
    wearer.wait(seconds=5)
    said: dict[str, Any] = {"result": {"frames": 12, "é": [1.5, None]}, "error": {"code": "E7"}}
    ended = await wearer.report(made["id"], status=status, **said)
    assert ended == {**heard, **said, "status": status, "executed_at": ended["executed_at"]}
    assert ended["executed_at"] is not None
    wearer.wait(days=30)
    reordered = {"result": {"é": [1.5, None], "frames": 12.0}, "error": {"code": "E7"}}
    assert await wearer.report(made["id"], status=status, **reordered) == ended
    assert await wearer.read(made["id"]) == ended


@pytest.mark.parametrize(
    "contradiction",
    [
        {"status": "failed"},
        {"status": "executed", "result": {"frames": 13}},
        {"status": "executed"},
        {"status": "executed", "result": {"frames": 12}, "error": {}},
    ],
)
async def test_a_report_that_contradicts_is_409(wearer: Wearer, contradiction: dict[str, Any]) -> None:
    made = await wearer.tell()
    ended = await wearer.report(made["id"], result={"frames": 12})
    assert "`executed`" in message(await wearer.report(made["id"], 409, **contradiction))
    assert await wearer.read(made["id"]) == ended


async def test_a_command_that_came_another_way_can_be_reported(wearer: Wearer) -> None:
    """Its token is good offline: an app may have carried it to the device."""
    made = await wearer.tell()
    ended = await wearer.report(made["id"])
    assert ended["status"] == "executed"
    assert ended["delivered_at"] == ended["executed_at"]
    assert await wearer.poll() == []


async def test_a_report_that_comes_too_late_is_409(wearer: Wearer) -> None:
    made = await wearer.tell(ttl_seconds=30)
    await wearer.poll()
    wearer.wait(seconds=30)
    assert "`expired`" in message(await wearer.report(made["id"], 409))
    shown = await wearer.read(made["id"])
    assert (shown["status"], shown["executed_at"]) == ("expired", None)


async def test_a_report_of_nothing_is_404(wearer: Wearer) -> None:
    assert message(await wearer.report("cmd_nothing", 404), "not_found")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "status"),
        ({"status": "cancelled"}, "status"),
        ({"status": "executed", "result": []}, "result"),
        ({"status": "executed", "error": "E7"}, "error"),
        ({"status": "executed", "result": {"a": "x" * 16_384}}, "result"),
        ({"status": "failed", "error": nested(MAX_LEVELS + 1)}, "error"),
        ({"status": "failed", "error": {"a": "\0"}}, "error.a"),
    ],
)
async def test_a_report_out_of_range_is_400_and_named(
    wearer: Wearer, body: dict[str, Any], param: str
) -> None:
    made = await wearer.tell()
    refused = await wearer.ask("POST", f"/commands/{made['id']}/ack", 400, body, wearer.token)
    assert refused["error"]["param"] == param
    assert await wearer.read(made["id"]) == made


async def test_unbinding_cancels_what_is_open(wearer: Wearer) -> None:
    ended, expired = await wearer.tell(), await wearer.tell(ttl_seconds=30)
    await wearer.report(ended["id"])
    wearer.wait(seconds=30)
    heard = await wearer.tell()
    await wearer.poll()
    unheard = await wearer.tell()
    neighbour = await wearer.beside()
    others = await neighbour.tell()
    old_token = wearer.token
    await wearer.unbind()
    told = {each["id"]: each["status"] for each in await wearer.list()}
    assert told == {
        ended["id"]: "executed",
        expired["id"]: "expired",
        heard["id"]: "cancelled",
        unheard["id"]: "cancelled",
    }
    assert (await neighbour.read(others["id"]))["status"] == "pending"
    await wearer.ask("GET", "/commands/pending", 401, token=old_token)
    await wearer.bind()
    assert await wearer.poll() == []
    # What an earlier binding was told does not exist for this one, whatever became of it.
    for each in told:
        assert message(await wearer.report(each, 404), "not_found")


async def test_deleting_the_end_user_forgets_what_their_devices_were_told(
    wearer: Wearer, timed: Running
) -> None:
    body = {"type": "stop_recording", "params": {"metadata": {"who": "Ada"}}, "idempotency_key": "k"}
    made = await wearer.send("POST", "/commands", body, **{"Idempotency-Key": "once"})
    before = (await wearer.tell())["id"]
    await wearer.unbind()
    person = wearer.end_user_id
    await wearer.bind()
    after = (await wearer.tell())["id"]
    gone = await wearer.client.delete(f"/v1/end-users/{person}", headers=wearer.tenant.headers)
    assert gone.status_code == 204
    assert ids(await wearer.list()) == [after]
    for gone in (made.json()["id"], before):
        await wearer.ask("GET", f"/commands/{gone}", 404)
    again = await wearer.send("POST", "/commands", body, **{"Idempotency-Key": "once"})
    assert again.status_code == 404
    # The row is there still; the key that the command was given is free.
    free = await wearer.tell("trigger_upload", idempotency_key="k")
    assert ids(await wearer.list()) == [free["id"], after]
    await delete_rows(timed.ports, wearer.tenant.test_world, person)
    assert ids(await wearer.list()) == [free["id"], after]
    async with timed.ports.database.acquire() as connection:
        left = await connection.fetchval(
            "SELECT count(*) FROM commands WHERE world_id = $1 AND params::text LIKE '%Ada%'",
            wearer.tenant.test_world,
        )
    assert left == 0


async def test_deleting_the_device_forgets_what_it_was_told(wearer: Wearer, timed: Running) -> None:
    once = {"Idempotency-Key": "once"}
    body = {"type": "stop_recording"}
    assert (await wearer.send("POST", "/commands", body, **once)).status_code == 201
    await wearer.unbind()
    assert (await wearer.send("DELETE", "")).status_code == 204
    assert (await wearer.send("POST", "/commands", body, **once)).status_code == 404
    async with timed.ports.database.acquire() as connection:
        left = await connection.fetchval(
            "SELECT count(*) FROM commands WHERE world_id = $1", wearer.tenant.test_world
        )
    assert left == 0


async def test_a_token_that_only_refreshes_may_not_fetch_or_report(wearer: Wearer) -> None:
    made = await wearer.tell()
    old = wearer.token
    fresh = (await wearer.ask("POST", "/token/refresh", 200, token=old))["device_token"]
    await wearer.ask("GET", "/commands/pending", 401, token=old)
    await wearer.ask("POST", f"/commands/{made['id']}/ack", 401, {"status": "executed"}, old)
    assert (await wearer.read(made["id"])) == made
    wearer.token = fresh
    assert ids(await wearer.poll()) == [made["id"]]
