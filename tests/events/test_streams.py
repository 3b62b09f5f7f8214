"""The stream of events: in order, without a gap or a repeat, for those who may read it."""

from __future__ import annotations

import asyncio
import json
import random

import httpx
import pytest

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.database.outbox import POSITIONS_CHANNEL
from lapel.foundation.ports import Ports
from lapel.slices.events.service import Events
from lapel.slices.events.wakes import Wakes
from lapel.slices.events.wire import StreamQuery
from tests.events.writing import body_of, place, write
from tests.support.event_stream import following, some
from tests.support.running import Running
from tests.support.tenants import Tenant, bearer, make_key


async def test_each_event_comes_as_frozen_and_in_order(live: Running, tenant: Tenant) -> None:
    ports, world = live.ports, tenant.test_world
    await write(ports, world, "rec_before")
    await place(ports)
    async with following(live.url, tenant.headers) as (answer, events):
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-store"
        assert await anext(events) == ("1", None, ""), "the client knows its place before the first event"
        made = [await write(ports, world, f"rec_{number}") for number in range(3)]
        await write(ports, world, "rec_test", test_for="wh_1")
        made.append(await write(ports, world, "rec_lines", data=b'{\n"id":\n1}'))
        await place(ports)
        found = await some(events, 4)
    assert [each.id for each in found] == ["2", "3", "4", "6"], "a test event has a place, and is left out"
    assert [each.data for each in found] == [await body_of(ports, world, each) for each in made]


async def test_a_client_that_connects_again_continues_where_it_stopped(live: Running, tenant: Tenant) -> None:
    for number in range(5):
        await write(live.ports, tenant.test_world, f"rec_{number}")
    await place(live.ports)
    async with following(live.url, tenant.headers, after="0") as (_, events):
        first = await some(events, 2)
    async with following(live.url, {**tenant.headers, "Last-Event-ID": first[-1].id}, after="0") as (_, more):
        rest = await some(more, 3)
    found = [json.loads(each.data or b"")["data"]["id"] for each in first + rest]
    assert found == [f"rec_{number}" for number in range(5)]


async def test_a_stream_has_only_events_of_resources_that_its_key_may_read(
    live: Running, tenant: Tenant
) -> None:
    ports, world = live.ports, tenant.test_world
    await write(ports, world, "tr_1", type="transcription.completed")
    await write(ports, world, "rec_1", type="recording.created")
    await place(ports)
    scopes = ("webhooks:read", "recordings:read")
    key = bearer(await make_key(ports, world, "rk_test", scopes=scopes))
    async with following(live.url, key, after="0") as (_, events):
        (found,) = await some(events, 1)
    assert json.loads(found.data or b"")["type"] == "recording.created"


async def test_under_load_no_event_is_missed_and_none_comes_twice(live: Running, tenant: Tenant) -> None:
    ports, world, total = live.ports, tenant.test_world, 120
    chance = random.Random(11)

    async def writer(number: int) -> list[str]:
        return [await write(ports, world, f"rec_{number}_{n}") for n in range(total // 4)]

    async def placing() -> None:
        while True:
            await place(ports, limit=7)
            await asyncio.sleep(0.005)

    async def reader() -> list[str]:
        found: list[str] = []
        last = {"Last-Event-ID": "0"}
        while len(found) < total:
            async with following(live.url, {**tenant.headers, **last}) as (_, events):
                for each in await some(events, min(chance.randint(1, 40), total - len(found))):
                    last = {"Last-Event-ID": each.id}
                    found.append(json.loads(each.data or b"")["id"])
        return found

    helper = asyncio.create_task(placing())
    try:
        *written, first, second = await asyncio.gather(*map(writer, range(4)), reader(), reader())
    finally:
        helper.cancel()
    made = {each for some_of_them in written for each in some_of_them}
    assert len(first) == len(set(first)) == total
    assert set(first) == made
    assert first == second


async def test_a_filter_leaves_other_types_out(live: Running, tenant: Tenant) -> None:
    types = ("recording.created", "device.bound", "ota.failed", "recording.failed")
    for each in types:
        await write(live.ports, tenant.test_world, "rec_1", type=each)
    await place(live.ports)
    async with following(live.url, tenant.headers, after="0", types="recording.*, ota.failed") as (_, events):
        found = [json.loads(each.data or b"")["type"] for each in await some(events, 3)]
    assert found == ["recording.created", "ota.failed", "recording.failed"]


async def test_each_world_has_its_own_stream(live: Running, tenant: Tenant, stranger: Tenant) -> None:
    for world in (tenant.live_world, stranger.test_world, tenant.test_world):
        await write(live.ports, world, f"rec_{world}")
    await place(live.ports)
    async with following(live.url, tenant.headers, after="0") as (_, events):
        (found,) = await some(events, 1)
    assert json.loads(found.data or b"")["data"]["id"] == f"rec_{tenant.test_world}"


async def test_a_revoked_key_gets_no_further_event(
    live: Running, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    scopes = ["webhooks:read", "recordings:read"]
    made = await client.post("/v1/api-keys", json={"scopes": scopes}, headers=tenant.headers)
    async with following(live.url, bearer(made.json()["key"])) as (_, events):
        await anext(events)
        gone = await client.delete(f"/v1/api-keys/{made.json()['id']}", headers=tenant.headers)
        assert gone.status_code == 204
        await write(live.ports, tenant.test_world, "rec_1")
        await place(live.ports)
        assert [each async for each in events] == []
    async with following(live.url, bearer(made.json()["key"])) as (answer, _):
        assert answer.status_code == 401


async def test_keys_without_the_scope_or_of_one_end_user_are_403(live: Running, tenant: Tenant) -> None:
    scopeless = await make_key(live.ports, tenant.test_world, "rk_test", scopes=("recordings:read",))
    async with following(live.url, bearer(scopeless)) as (answer, _):
        assert answer.status_code == 403


@pytest.mark.parametrize("place_name", ["x", "-1", "1.5", "7", "9" * 19, "١"])
async def test_a_place_that_the_stream_does_not_have_is_400(
    live: Running, tenant: Tenant, place_name: str
) -> None:
    async with following(live.url, tenant.headers, after=place_name) as (answer, _):
        assert answer.status_code == 400
        assert json.loads(await answer.aread())["error"]["param"] == "after"


async def test_types_that_no_event_has_are_400(live: Running, tenant: Tenant) -> None:
    for types in ("recording.upload", "summary.*.*", "recording.*,x.*", ","):
        async with following(live.url, tenant.headers, types=types) as (answer, _):
            assert answer.status_code == 400, types
            assert json.loads(await answer.aread())["error"]["param"] == "types"


def _service(ports: Ports) -> Events:
    return Events(ports, frozenset({"recording.deleted", "device.bound"}), heartbeat=0.02)


def _actor(tenant: Tenant) -> Actor:
    return Actor(
        kind="key",
        id="key_1",
        world_id=tenant.test_world,
        project_id=tenant.project_id,
        mode="test",
        scopes=frozenset({"devices:read", "recordings:read"}),
    )


async def test_a_quiet_stream_sends_comments_with_its_place(ports: Ports, tenant: Tenant) -> None:
    stream = _service(ports).stream(_actor(tenant), StreamQuery(types="device.bound"), None)
    world = f": world {tenant.project_id} test\n".encode()
    assert await anext(stream) == world + b"retry: 2000\nid: 0\n\n"
    assert await anext(stream) == b": heartbeat\nid: 0\n\n"
    await write(ports, tenant.test_world, "rec_1")
    await place(ports)
    while (piece := await anext(stream)) == b": heartbeat\nid: 0\n\n":
        pass
    assert piece == b": heartbeat\nid: 1\n\n", "the client need not see the event again that it does not want"
    await stream.aclose()


async def test_events_read_by_a_slow_client_are_made_a_few_at_a_time(ports: Ports, tenant: Tenant) -> None:
    large = b'{"text":"%b"}' % (b"x" * 100_000)
    for number in range(4):
        await write(ports, tenant.test_world, f"rec_{number}", data=large)
    await write(ports, tenant.test_world, "rec_small")
    await place(ports)
    stream = _service(ports).stream(_actor(tenant), StreamQuery(after="0"), None)
    await anext(stream)
    sizes = [len(await anext(stream)) for _ in range(4)]
    assert [size // 100_000 for size in sizes] == [1, 1, 1, 1]
    assert b"rec_small" in await anext(stream)
    await stream.aclose()


def _listening() -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks() if task.get_name() == "wakes"}


async def test_the_listening_connection_ends_with_the_last_stream(ports: Ports, tenant: Tenant) -> None:
    # The server of other tests may still have streams, which end by themselves.
    others = _listening()
    service = _service(ports)
    streams = [service.stream(_actor(tenant), StreamQuery(), None) for _ in range(2)]
    for each in streams:
        await anext(each)
    (listening,) = _listening() - others
    await streams[0].aclose()
    assert not listening.cancelling()
    await streams[1].aclose()
    assert listening.cancelling() or listening.done()
    with pytest.raises(InvalidRequest):
        await anext(service.stream(_actor(tenant), StreamQuery(after="1"), None))


async def test_positions_of_a_world_wake_no_stream_of_another_world(
    ports: Ports, tenant: Tenant, stranger: Tenant
) -> None:
    wakes = Wakes(ports.database.dsn, POSITIONS_CHANNEL)
    with wakes.of(tenant.test_world) as own, wakes.of(stranger.test_world) as other:
        await asyncio.gather(own.wait(), other.wait())  # after the connect, for what came before
        own.clear()
        other.clear()
        await write(ports, tenant.test_world, "rec_wakes")
        await place(ports)
        await own.wait()
        assert not other.is_set()
