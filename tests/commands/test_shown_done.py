"""Commands of devices that know no report: a later heartbeat shows what was done."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.commands.support import Json, Wearer, ids, message
from tests.support.tenants import bearer

KINDS = ("start_recording", "stop_recording", "trigger_upload", "factory_reset")


async def beat(wearer: Wearer, **body: Any) -> list[Json]:
    """The commands that a heartbeat hears."""
    answer = await wearer.ask("POST", "/heartbeat", 200, body, wearer.token)
    return answer["commands"]


@pytest.mark.parametrize(
    ("body", "done"),
    [
        ({"device_state": "recording"}, {"start_recording"}),
        ({"device_state": "idle"}, {"stop_recording"}),
        ({"device_state": "docked"}, {"stop_recording"}),
        ({"device_state": "syncing"}, {"stop_recording", "trigger_upload"}),
        ({"device_state": "uploading"}, {"stop_recording", "trigger_upload"}),
        ({"pending_recordings": 0}, {"trigger_upload"}),
        ({"pending_recordings": 0, "device_state": "recording"}, {"start_recording", "trigger_upload"}),
        ({"pending_recordings": 1}, set()),
        ({"pending_recordings": 1, "device_state": "uploading"}, {"stop_recording", "trigger_upload"}),
        ({"battery_percent": 50}, set()),
        ({"device_state": None, "pending_recordings": None}, set()),
        ({}, set()),
    ],
)
async def test_a_later_heartbeat_settles_what_it_shows_to_be_done(
    wearer: Wearer, body: Json, done: set[str]
) -> None:
    made = {kind: (await wearer.tell(kind))["id"] for kind in KINDS}
    # The heartbeat that delivers a command settles none: the device hears of it only now.
    assert ids(await beat(wearer, **body)) == list(made.values())
    wearer.wait(seconds=10)
    assert ids(await beat(wearer, **body)) == [made[kind] for kind in KINDS if kind not in done]
    for kind, command_id in made.items():
        shown = await wearer.read(command_id)
        assert shown["status"] == ("executed" if kind in done else "delivered")
        assert (shown["executed_at"] is not None) == (kind in done)


async def test_what_was_fetched_is_settled_by_heartbeats_too(wearer: Wearer) -> None:
    made = await wearer.tell("stop_recording")
    await wearer.poll()
    assert await beat(wearer, device_state="idle") == []
    assert (await wearer.read(made["id"]))["status"] == "executed"


async def test_the_results_say_what_was_recorded_and_when(wearer: Wearer) -> None:
    begun = await wearer.tell("start_recording", ttl_seconds=600)
    await beat(wearer)
    wearer.wait(seconds=5)
    await beat(wearer, device_state="recording")
    shown = await wearer.read(begun["id"])
    state = (await wearer.ask("GET", "/state", 200))["recording"]
    assert shown["result"] == {"recording_id": None, "started_at": state["started_at"]}
    assert shown["executed_at"] == shown["result"]["started_at"]
    recording = await wearer.client.post("/v1/recordings", headers=bearer(wearer.token))
    again, ended = await wearer.tell("start_recording"), await wearer.tell("stop_recording")
    sent = await wearer.tell("trigger_upload")
    await beat(wearer)
    wearer.wait(seconds=5)
    await beat(wearer, device_state="recording")
    named = {"recording_id": recording.json()["id"], "started_at": state["started_at"]}
    assert (await wearer.read(again["id"]))["result"] == named
    wearer.wait(seconds=5)
    assert await beat(wearer, device_state="syncing") == []
    stopped = await wearer.read(ended["id"])
    assert stopped["result"] == {"stopped_at": stopped["executed_at"]}
    uploaded = await wearer.read(sent["id"])
    assert (uploaded["status"], uploaded["result"]) == ("executed", None)


async def test_what_expired_or_was_cancelled_is_not_settled(wearer: Wearer) -> None:
    late = await wearer.tell("stop_recording", ttl_seconds=30)
    await beat(wearer)
    wearer.wait(seconds=30)
    taken_back = await wearer.tell("stop_recording")
    await wearer.cancel(taken_back["id"])
    await wearer.tell("start_recording")
    await beat(wearer, device_state="idle")
    await beat(wearer, device_state="idle")
    assert (await wearer.read(late["id"]))["status"] == "expired"
    assert (await wearer.read(taken_back["id"]))["status"] == "cancelled"


async def test_a_device_that_knows_reports_may_report_what_a_heartbeat_showed(wearer: Wearer) -> None:
    made = await wearer.tell("start_recording", ttl_seconds=60)
    await beat(wearer)
    await beat(wearer, device_state="recording")
    settled = await wearer.read(made["id"])
    wearer.wait(seconds=90)
    assert "`executed`" in message(await wearer.report(made["id"], 409, "failed"))
    for _ in range(2):  # a report without a result takes nothing away
        assert await wearer.report(made["id"]) == settled
    for _ in range(2):
        told = await wearer.report(made["id"], result={"frames": 12})
        assert told == {**settled, "result": {"frames": 12}}
    assert "`executed`" in message(await wearer.report(made["id"], 409, result={"frames": 13}))
    assert "`executed`" in message(await wearer.report(made["id"], 409))


async def test_heartbeats_at_once_settle_a_command_once(wearer: Wearer) -> None:
    made = await wearer.tell("stop_recording")
    await beat(wearer)
    heard = await asyncio.gather(*(beat(wearer, device_state="idle") for _ in range(6)))
    assert heard == [[]] * 6
    shown = await wearer.read(made["id"])
    assert shown["result"] == {"stopped_at": shown["executed_at"]}


async def test_a_factory_reset_without_ttl_never_expires(wearer: Wearer) -> None:
    made = await wearer.tell("factory_reset")
    assert made["expires_at"] is None
    timed = await wearer.tell("factory_reset", ttl_seconds=60)
    assert timed["expires_at"] is not None
    others = [await wearer.tell(kind) for kind in KINDS if kind != "factory_reset"]
    assert None not in [each["expires_at"] for each in others]
    wearer.wait(days=400)
    assert ids(await beat(wearer)) == [made["id"]]
    assert ids(await wearer.poll()) == [made["id"]]
    shown = await wearer.read(made["id"])
    assert (shown["status"], shown["expires_at"], shown["grant_token"]) == (
        "delivered",
        None,
        made["grant_token"],
    )
    assert ids(await wearer.list(status="delivered")) == [made["id"]]
    assert ids(await wearer.list(status="expired")) == [each["id"] for each in (*others[::-1], timed)]


async def test_a_factory_reset_that_was_carried_out_unbinds_the_device(wearer: Wearer) -> None:
    made, other = await wearer.tell("factory_reset"), await wearer.tell("stop_recording")
    neighbour = await wearer.beside()
    await wearer.poll()
    told = await wearer.report(made["id"])
    assert told["status"] == "executed"
    device = await wearer.ask("GET", "", 200)
    assert (device["status"], device["end_user_id"], device["bound_at"]) == ("unbound", None, None)
    await wearer.ask("POST", "/heartbeat", 401, {}, wearer.token)
    assert (await wearer.read(other["id"]))["status"] == "cancelled"
    assert (await wearer.read(made["id"])) == told
    assert (await neighbour.ask("GET", "", 200))["status"] == "bound"
    await wearer.bind()
    assert await wearer.poll() == []


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_else_unbinds_the_device(wearer: Wearer, kind: str) -> None:
    made = await wearer.tell(kind)
    await wearer.report(made["id"], status="failed" if kind == "factory_reset" else "executed")
    assert (await wearer.ask("GET", "", 200))["status"] == "bound"


async def test_a_reset_and_an_unbinding_at_once_end_one_binding_once(wearer: Wearer) -> None:
    for _ in range(4):
        made = await wearer.tell("factory_reset")
        reported, unbound, _ = await asyncio.gather(
            wearer.send("POST", f"/commands/{made['id']}/ack", {"status": "executed"}, wearer.token),
            wearer.send("POST", "/unbind"),
            wearer.send("POST", "/heartbeat", {"device_state": "idle"}, wearer.token),
        )
        assert (unbound.status_code, reported.status_code in (200, 401, 409)) == (200, True)
        stands = (await wearer.read(made["id"]))["status"]
        assert stands == ("executed" if reported.status_code == 200 else "cancelled")
        before = (await wearer.ask("GET", "", 200))["binding_generation"]
        await wearer.bind()
        assert (await wearer.ask("GET", "", 200))["binding_generation"] == before + 1
