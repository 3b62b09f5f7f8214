"""`lapel trigger`: each type of event is caused by really making what it tells of."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import httpx
import pytest

from lapel import app
from lapel.cli.events.event_causes import CAUSES, LATE, SCOPES, Causes
from lapel.simulate.client.caller import Caller
from lapel.simulate.client.meter import Meter
from tests.events.writing import place, write
from tests.support.plain_http import http
from tests.support.running import Running, running
from tests.support.serving import run
from tests.support.spoken import complete_transcription
from tests.support.tenants import Tenant, make_key, make_tenant
from tests.webhooks.delivery.support import delivering

# The worker makes these after the answer.
_OF_THE_WORKER = LATE | {"transcription.started", "transcription.completed", "transcription.failed"}
# These wait until the worker has transcribed.
_WAITING = {"summary.started", "summary.completed", "summary.failed"}


def test_every_event_that_a_client_can_cause_has_a_cause() -> None:
    published = {name for each in app.SLICES for name in each.events}
    assert published == CAUSES.keys()


@pytest.fixture
async def caller(live: Running) -> AsyncGenerator[Caller]:
    async with aiohttp.ClientSession() as session:
        yield Caller(session, live.url, Meter(), Random(1), 0)


@pytest.mark.parametrize("type_", sorted(CAUSES.keys() - _WAITING - {"webhook.disabled"}))
async def test_a_cause_makes_the_event_with_a_key_of_these_scopes(
    client: httpx.AsyncClient, live: Running, tenant: Tenant, caller: Caller, type_: str
) -> None:
    key = await make_key(live.ports, tenant.test_world, "rk_test", scopes=SCOPES)
    resource_id = await CAUSES[type_].run(Causes(caller, key, "ab12"))
    headers = {"Authorization": f"Bearer {key}"}
    answer = await client.get("/v1/events", params={"resource_id": resource_id}, headers=headers)
    types: list[str] = [each["type"] for each in answer.json()["data"]]
    assert type_ in types if type_ not in _OF_THE_WORKER else type_ not in types


async def test_a_summary_is_asked_for_as_soon_as_there_is_a_transcript(
    client: httpx.AsyncClient, live: Running, tenant: Tenant, caller: Caller
) -> None:
    key = await make_key(live.ports, tenant.test_world, "rk_test", scopes=SCOPES)
    headers = {"Authorization": f"Bearer {key}"}
    causing = asyncio.ensure_future(CAUSES["summary.failed"].run(Causes(caller, key, "ab13")))
    made: list[dict[str, Any]] = []
    while not made:
        made = (await client.get("/v1/transcriptions", headers=headers)).json()["data"]
    await complete_transcription(live.ports, tenant.test_world, made[0]["id"])
    answer = await client.get(f"/v1/summaries/{await causing}", headers=headers)
    assert (answer.json()["status"], answer.json()["transcription_id"]) == ("pending", made[0]["id"])


async def test_a_webhook_is_disabled_by_a_receiver_on_this_machine(
    fresh_database: str, tmp_path: Path
) -> None:
    allowed = {"LAPEL_OUTBOUND_NETWORKS": "127.0.0.0/8"}
    async with running(tmp_path, fresh_database, clock=None, **allowed) as live, delivering(live.ports):
        tenant = await make_tenant(live.ports)
        done = await _run(live, tenant.test_key, "webhook.disabled", "--json")
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        event = await _get(live, tenant, f"/v1/events/{told['event_id']}")
        assert (event["type"], event["data"]["disabled_reason"]) == ("webhook.disabled", "gone")
        webhook = await _get(live, tenant, f"/v1/webhooks/{told['resource_id']}")
        assert (webhook["status"], webhook["disabled_reason"]) == ("disabled", "gone")


async def test_a_server_that_may_not_call_this_machine_is_told_so(live: Running, tenant: Tenant) -> None:
    refused = await _run(live, tenant.test_key, "webhook.disabled")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "LAPEL_OUTBOUND_NETWORKS=127.0.0.0/8" in refused.stderr


async def test_the_command_waits_for_its_event_and_prints_it(live: Running, tenant: Tenant) -> None:
    done = await _run(live, tenant.test_key, "device.low_battery", "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    answer = await _get(live, tenant, f"/v1/events/{told['event_id']}")
    assert (answer["type"], answer["data"]["id"]) == ("device.low_battery", told["resource_id"])
    late = await _run(live, tenant.test_key, "device.offline", "--json")
    assert json.loads(late.stdout)["event_id"] is None
    assert "about 15 minutes later" in late.stderr


async def test_what_cannot_be_triggered_is_told(live: Running, tenant: Tenant) -> None:
    listed = run("trigger", "--json")
    assert json.loads(listed.stdout)["types"].keys() == CAUSES.keys()
    assert "lapel trigger` lists the types that can" in (await _run(live, tenant.test_key, "x.y")).stderr
    live_key = await _run(live, tenant.live_key, "device.bound")
    assert (live_key.returncode, live_key.stdout) == (1, "")
    assert "takes only a key of the test world" in live_key.stderr
    poor = await make_key(live.ports, tenant.test_world, "rk_test", scopes=("end_users:write",))
    refused = await _run(live, poor, "device.bound")
    assert refused.returncode == 1
    assert "lapel: device.bound was not caused: device: 403 " in refused.stderr
    assert "devices:write" in refused.stderr
    assert "{" not in refused.stderr


async def test_resending_names_the_webhooks_or_the_fault(live: Running, tenant: Tenant) -> None:
    events = (await _get(live, tenant, "/v1/events"))["data"]
    assert events == []
    for event_id, said in (
        ("evt_0", "lapel: not delivered again (404): There is no event with this id"),
        ("rec_0", "begins with evt_"),
    ):
        done = await _run(live, tenant.test_key, event_id, command=("events", "resend"))
        assert done.returncode == 1
        assert said in done.stderr
    made = await write(live.ports, tenant.test_world, "rec_1")
    await place(live.ports)
    done = await _run(live, tenant.test_key, made, "--json", command=("events", "resend"))
    assert json.loads(done.stdout) == {"event_id": made, "webhook_ids": []}
    assert done.returncode == 1
    assert f"{made} is not delivered again: no enabled webhook" in done.stderr
    async with live.ports.database.acquire() as connection:
        await connection.execute("DELETE FROM events WHERE world_id = $1", tenant.test_world)


def test_a_server_that_is_away_is_told_in_plain_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for command in (("trigger", "device.bound"), ("events", "resend", "evt_0")):
            done = run(*command, env={"LAPEL_URL": url, "LAPEL_KEY": "sk_test_x"})
            assert done.returncode == 1
            assert done.stderr == (
                f"lapel: the server does not answer: no connection to {url}: Connection refused. Start the "
                "server, or name another one with --url.\n"
            )


async def _run(live: Running, key: str, *arguments: str, command: tuple[str, ...] = ("trigger",)) -> Any:
    env = {"LAPEL_URL": live.url, "LAPEL_KEY": key}
    return await asyncio.to_thread(lambda: run(*command, *arguments, env=env))


async def _get(live: Running, tenant: Tenant, path: str) -> Any:
    return await asyncio.to_thread(lambda: http.get(live.url + path, headers=tenant.headers).json())
