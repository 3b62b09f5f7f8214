"""Several at once: the row says who was first, and everybody hears the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.errors import NotFound
from lapel.slices.commands.service import MAX_OPEN, Commands
from lapel.slices.commands.wire import Report
from tests.commands.support import Wearer, ids
from tests.support.locks import until_waiting
from tests.support.running import Running

ROUNDS = 12


async def test_reported_many_times_at_once_it_took_effect_once(wearer: Wearer) -> None:
    made = await wearer.tell()
    await wearer.poll()
    answers = await asyncio.gather(*(wearer.report(made["id"], result={"n": 1}) for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert await wearer.read(made["id"]) == answers[0]


async def test_of_reports_that_contradict_one_stands(wearer: Wearer) -> None:
    for _ in range(ROUNDS):
        made = await wearer.tell()
        path = f"/commands/{made['id']}/ack"
        said = [{"status": status, "result": {"n": n}} for status in ("executed", "failed") for n in (1, 2)]
        answers = await asyncio.gather(
            *(wearer.send("POST", path, each, wearer.token) for each in (*said, *said))
        )
        stands = await wearer.read(made["id"])
        for each, answer in zip((*said, *said), answers, strict=True):
            agrees = (each["status"], each["result"]) == (stands["status"], stands["result"])
            assert answer.status_code == (200 if agrees else 409), answer.text
            if agrees:
                assert answer.json() == stands


async def test_a_command_is_cancelled_or_delivered_and_never_both(wearer: Wearer) -> None:
    for number in range(ROUNDS):
        made = await wearer.tell()
        calls: list[Any] = [
            wearer.send("DELETE", f"/commands/{made['id']}"),
            wearer.send("GET", "/commands/pending", token=wearer.token),
        ]
        if number % 2:
            calls.reverse()
        answers = await asyncio.gather(*calls)
        cancelled, polled = reversed(answers) if number % 2 else answers
        listed = made["id"] in ids(polled.json()["data"])
        assert cancelled.status_code == (409 if listed else 200)
        assert (await wearer.read(made["id"]))["status"] == ("delivered" if listed else "cancelled")
        if listed:
            await wearer.report(made["id"])


async def test_a_command_is_cancelled_or_carried_out_and_never_both(wearer: Wearer) -> None:
    """The device may have it from an app, and report what was never fetched."""
    for _ in range(ROUNDS):
        made = await wearer.tell()
        path = f"/commands/{made['id']}"
        cancelled, reported = await asyncio.gather(
            wearer.send("DELETE", path),
            wearer.send("POST", f"{path}/ack", {"status": "executed"}, wearer.token),
        )
        assert sorted((cancelled.status_code, reported.status_code)) == [200, 409]
        stands = (await wearer.read(made["id"]))["status"]
        assert stands == ("cancelled" if cancelled.status_code == 200 else "executed")


async def test_cancelled_many_times_at_once_one_cancels(wearer: Wearer) -> None:
    made = await wearer.tell()
    answers = await asyncio.gather(*(wearer.send("DELETE", f"/commands/{made['id']}") for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 5]


async def test_one_key_gives_one_command_however_many_ask_at_once(wearer: Wearer) -> None:
    body = {"type": "stop_recording", "idempotency_key": "once"}
    answers = await asyncio.gather(*(wearer.send("POST", "/commands", body) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [*[200] * 7, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(await wearer.list()) == 1


async def test_a_hundred_are_a_hundred_also_at_once(wearer: Wearer) -> None:
    for _ in range(MAX_OPEN - 3):
        await wearer.tell()
    body = {"type": "stop_recording"}
    answers = await asyncio.gather(*(wearer.send("POST", "/commands", body) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [*[201] * 3, *[409] * 7]
    assert len(await wearer.poll()) == MAX_OPEN


async def test_no_command_outlives_the_binding_it_was_given_for(wearer: Wearer) -> None:
    for _ in range(ROUNDS):
        token = wearer.token
        body = {"type": "stop_recording"}
        *told, polled, unbound = await asyncio.gather(
            *(wearer.send("POST", "/commands", body) for _ in range(3)),
            wearer.send("GET", "/commands/pending", token=token),
            wearer.send("POST", "/unbind"),
        )
        assert unbound.status_code == 200
        assert polled.status_code in (200, 401)
        assert {answer.status_code for answer in told} <= {201, 409}
        await wearer.bind()
        assert await wearer.poll() == []
        assert {each["status"] for each in await wearer.list(limit=100)} <= {"cancelled"}


NEXT_BINDING = """
UPDATE devices SET binding_generation = binding_generation + 1 WHERE world_id = $1 AND id = $2
"""


async def test_a_poll_that_a_new_binding_overtakes_is_401_and_delivers_nothing(
    wearer: Wearer, timed: Running
) -> None:
    made = await wearer.tell()
    async with timed.ports.database.transaction() as connection:
        await connection.execute(NEXT_BINDING, wearer.tenant.test_world, wearer.device_id)
        polling = asyncio.create_task(wearer.send("GET", "/commands/pending", token=wearer.token))
        await until_waiting(timed.ports, 1)
    assert (await polling).status_code == 401
    assert await wearer.read(made["id"]) == made


async def test_a_report_under_an_older_binding_changes_nothing(wearer: Wearer, timed: Running) -> None:
    made = await wearer.tell()
    late = Actor(
        kind="device",
        id=wearer.device_id,
        world_id=wearer.tenant.test_world,
        project_id=wearer.tenant.project_id,
        mode="test",
        binding_generation=0,
    )
    with pytest.raises(NotFound):
        await timed.services[Commands].report(late, "me", made["id"], Report(status="executed"))
    assert (await timed.services[Commands].hand_over(late, "me")).data == []
    assert await wearer.read(made["id"]) == made


async def test_no_command_outlives_its_end_user(wearer: Wearer) -> None:
    for _ in range(ROUNDS):
        path = f"/v1/end-users/{wearer.end_user_id}"
        *told, deleted = await asyncio.gather(
            *(wearer.send("POST", "/commands", {"type": "stop_recording"}) for _ in range(3)),
            wearer.client.delete(path, headers=wearer.tenant.headers),
        )
        assert deleted.status_code == 204
        assert {answer.status_code for answer in told} <= {201, 409}
        assert await wearer.list() == []
        await wearer.bind()
