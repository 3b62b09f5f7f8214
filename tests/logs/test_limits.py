"""What the request log may cost: bounded batches, counted misses, and nothing for those who are gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
import pytest
from structlog.testing import capture_logs

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import Database
from lapel.slices.logs.known_tails import KnownTails, TailNotice
from lapel.slices.logs.open_tails import REQUESTS_CHANNEL, TAILS_CHANNEL, OpenTail
from lapel.slices.logs.request_filter import RequestFilter
from lapel.slices.logs.service import Logs, shown_path
from lapel.slices.logs.wire import LogStreamQuery, RequestActor, RequestSummary
from tests.logs.support import Pair, answered, known, listening, overheard, until
from tests.support.event_stream import Sent, some
from tests.support.tenants import Tenant

FLOOD = 2000
PATH = "/v1/recordings"


def notice(world: int, tail: str = "t1", *, ended: bool = False, only: RequestFilter | None = None) -> str:
    """An announcement of another process."""
    return msgspec.json.encode(TailNotice(tail, world, only or RequestFilter(), ended)).decode()


def actor_of(tenant: Tenant) -> Actor:
    return Actor(
        kind="key", id="key_1", world_id=tenant.test_world, project_id=tenant.project_id, mode="test"
    )


async def test_what_is_too_much_is_counted_for_each_tail(pair: Pair) -> None:
    world = pair.tenant.test_world
    async with (
        overheard(pair.one.ports.database.dsn) as heard,
        pair.tail() as events,
        pair.tail({"status": "5xx"}) as failures,
    ):
        for number in range(FLOOD):
            pair.logs[1].note(answered(world, number, status=200 if number % 10 else 500))
        shown, missed = await _until_all(events, FLOOD)
        few, few_missed = await _until_all(failures, FLOOD // 10)
    assert missed > 0, "the flood does not fit"
    assert (shown + missed, few + few_missed) == (FLOOD, FLOOD // 10)
    assert few_missed < missed
    batches = [payload for channel, payload in heard if channel == REQUESTS_CHANNEL]
    assert len(batches) < 10, "four payloads, what is missed, and the requests of the tails themselves"


async def _until_all(events: AsyncIterator[Sent], total: int) -> tuple[int, int]:
    """How many requests a stream shows, and how many it misses, until these are all of `total`."""
    shown = missed = 0
    while shown + missed < total:
        (event,) = await some(events, 1)
        told = json.loads(event.data or b"")
        if event.name == "missed":
            missed += told["count"]
        else:
            shown += told["path"] == PATH
    return shown, missed


async def test_a_client_that_reads_slowly_misses_requests_and_is_told_how_many() -> None:
    tail = OpenTail(1, RequestFilter(), None)
    request = RequestSummary(
        request_id="req_1", created_at="2026-01-15T12:00:00.000Z", method="GET", path="/v1/devices",
        status=200, duration_ms=1.0, actor=RequestActor(kind="key", id="key_1"), address=None,
        error_code=None,
    )  # fmt: skip
    piece = b"data: %b\n\n" % msgspec.json.encode(request)
    total = 10_000
    for _ in range(total):
        tail.show(request, piece)
    sent = await tail.next(60)
    assert len(sent) < 130 * 1024
    count = sent.count(b'data: {"request_id"')
    assert sent.endswith(b'event: missed\ndata: {"count":%d}\n\n' % (total - count))
    tail.show(request, piece)
    assert await tail.next(60) == piece, "there is room again"


async def test_a_quiet_stream_sends_comments(pair: Pair) -> None:
    logs = Logs(pair.one.ports, heartbeat=0.02)
    stream = logs.stream(actor_of(pair.tenant), LogStreamQuery())
    assert [await anext(stream) for _ in range(3)] == [b"retry: 2000\n\n", *[b": heartbeat\n\n"] * 2]
    await stream.aclose()


async def test_a_tail_is_announced_again_and_again_and_its_end_once(pair: Pair) -> None:
    world = pair.tenant.test_world
    logs = Logs(pair.one.ports, announce_every=0.02)

    async with overheard(pair.one.ports.database.dsn) as heard:

        def notices(*, ended: bool) -> int:
            return sum(
                channel == TAILS_CHANNEL and payload["world"] == world and payload["ended"] == ended
                for channel, payload in heard
            )

        stream = logs.stream(actor_of(pair.tenant), LogStreamQuery(status="5xx"))
        await anext(stream)
        await until(lambda: notices(ended=False) >= 4)
        await until(lambda: known(pair.logs[1], world) == 1)
        await stream.aclose()
        await until(lambda: notices(ended=True) == 1)
        count = notices(ended=False)
        await until(lambda: not known(pair.logs[1], world))
        await asyncio.sleep(0.1)
        assert (notices(ended=False), notices(ended=True)) == (count, 1)


async def test_a_process_that_begins_to_listen_hears_of_the_tails_at_once(pair: Pair) -> None:
    world = pair.tenant.test_world
    here = Logs(pair.one.ports, announce_every=3600)
    stream = here.stream(actor_of(pair.tenant), LogStreamQuery())
    await anext(stream)
    await until(lambda: known(pair.logs[1], world) == 1)
    database = pair.one.ports.database
    async with listening(here, database), listening(Logs(pair.one.ports), database) as there:
        await until(lambda: known(there, world) == 1)
    await stream.aclose()


async def test_nothing_is_sent_for_a_tail_whose_process_was_killed(pair: Pair) -> None:
    """A killed process announces nothing more, also not the end of its tails."""
    world = pair.tenant.test_world
    logs = Logs(pair.one.ports, announce_every=0.1, batch_every=0.01)
    async with overheard(pair.one.ports.database.dsn) as heard:
        assert world not in logs.followed
        logs.hear(notice(world))
        logs.note(answered(world))
        await until(lambda: heard)
        number = 1
        while world in logs.followed:
            number += 1
            logs.note(answered(world, number))
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.05)
        sent = [each["request_id"] for _, payload in heard for each in payload["requests"]]
    assert "req_1" in sent
    assert f"req_{number}" not in sent


async def test_nothing_is_sent_that_no_tail_asks_for(pair: Pair) -> None:
    world = pair.tenant.test_world
    logs = Logs(pair.one.ports, batch_every=0.01)
    async with overheard(pair.one.ports.database.dsn) as heard:
        logs.hear(notice(world, "t1", only=RequestFilter(statuses=frozenset({5}))))
        logs.hear(notice(world, "t2", only=RequestFilter(path="/v1/devices/")))
        asked = ((200, PATH), (404, "/v1/devices"), (500, PATH), (200, "/v1/devices/me"))
        for number, (status, path) in enumerate(asked):
            logs.note(answered(world, number, status=status, path=path))
        await until(lambda: heard)
        ((channel, payload),) = heard
    assert channel == REQUESTS_CHANNEL
    assert [each["request_id"] for each in payload["requests"]] == ["req_2", "req_3"]


async def test_a_stream_ends_when_its_announcements_fail_for_long(pair: Pair) -> None:
    """The other processes have forgotten it, so it would miss requests and not say so."""
    database = Database(pair.one.ports.database.dsn)
    await database.open()
    logs = Logs(replace(pair.one.ports, database=database), heartbeat=0.02, announce_every=0.02)
    stream = logs.stream(actor_of(pair.tenant), LogStreamQuery())
    await anext(stream)
    await database.close()
    with pytest.raises(Unavailable):
        _ = [each async for each in stream]


async def test_the_end_of_a_tail_is_announced_again_after_a_failure(pair: Pair) -> None:
    world = pair.tenant.test_world
    database = Database(pair.one.ports.database.dsn)
    await database.open()
    logs = Logs(replace(pair.one.ports, database=database), announce_every=2)
    async with overheard(pair.one.ports.database.dsn) as heard:
        stream = logs.stream(actor_of(pair.tenant), LogStreamQuery())
        await anext(stream)
        await database.close()
        with capture_logs() as logged:
            await stream.aclose()
            await until(lambda: [each for each in logged if each["event"] == "logs.not_announced"])
        await database.open()
        await until(lambda: [each for _, each in heard if each["world"] == world and each.get("ended")])
    await database.close()


async def test_one_world_leaves_room_for_others(pair: Pair) -> None:
    logs = Logs(pair.one.ports, batch_every=0.01)
    worlds = range(10**6, 10**6 + 6)
    async with overheard(pair.one.ports.database.dsn) as heard:
        for world in worlds:
            logs.hear(notice(world))
            for number in range(FLOOD):
                logs.note(answered(world, number))
        await until(lambda: {payload["world"] for _, payload in heard if payload.get("missed")} == {*worlds})
    shown = {
        world: sum(len(p.get("requests", [])) for _, p in heard if p["world"] == world) for world in worlds
    }
    assert all(shown.values()), shown
    assert sum(len(json.dumps(payload, separators=(",", ":"))) for _, payload in heard) < 140_000


def test_a_process_does_not_forget_its_own_tails() -> None:
    tails = KnownTails(-1)
    tails.add_own(TailNotice("t1", 1, RequestFilter()))
    for ended in (False, True):
        tails.hear(notice(1, "t1", ended=ended))
        assert tails.matching(answered(1)) == [("t1", "")]
    tails.drop(1, "t1")
    assert 1 not in tails.by_world


def test_announcements_of_another_version_and_of_too_many_tails_are_ignored() -> None:
    tails = KnownTails(60)
    for payload in ("", "{}", "nonsense", '{"tail":"t","world":"x","filter":{}}'):
        tails.hear(payload)
    assert tails.by_world == {}
    for number in range(5000):
        tails.hear(notice(number, f"t{number}"))
    assert sum(map(len, tails.by_world.values())) == 4096
    tails.hear(notice(0, "t0", ended=True))
    tails.hear(notice(9999))
    assert 9999 in tails.by_world
    assert 0 not in tails.by_world


def test_tails_of_killed_processes_take_no_room_in_worlds_without_requests() -> None:
    tails = KnownTails(-1)
    for number in range(5000):
        tails.hear(notice(number, f"t{number}"))
        assert not tails.has(number, f"t{number}")
    assert list(tails.by_world) == [4999]
    tails.add_own(TailNotice("own", 1, RequestFilter()))
    tails.hear(notice(2))
    assert tails.has(1, "own")
    assert list(tails.by_world) == [1, 2]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/recordings/rec_0VcDtuPqY6bM1sXkW9hLz3aE", "/v1/recordings/rec_0VcDtuPqY6bM1sXkW9hLz3aE"),
        ("/v1/devices/stats", "/v1/devices/stats"),
        (f"/v1/devices/dev_{'0' * 38}", "/v1/devices/dev_***"),
        ("/v1/devices/dG9r-ZW4tc2Vj_cmV0LXZh-bHVlMTIz_NDU2Nzg5", "/v1/devices/***"),
        ("/v1/devices/01890a5d-ac96-774b-bcce-b302099a8057/config", "/v1/devices/***/config"),
        (f"/v1/devices/a-{'0' * 25}-b", "/v1/devices/***"),
        (f"/v1/devices/sk_test_{'0' * 38}", "/v1/devices/sk_test_***"),
        (f"/v1/recordings/é{'-ü' * 20}", "/v1/recordings/***"),
        (f"/v1/{'ab/' * 150}", f"/v1/{'ab/' * 65}a…"),
    ],
)
def test_the_shown_path(path: str, expected: str) -> None:
    assert shown_path(path) == expected
