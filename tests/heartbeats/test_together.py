"""Heartbeats of several devices share a statement, and none of the devices notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from hashlib import sha256
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.clock import EPOCH
from lapel.foundation.ports import Ports
from lapel.slices.heartbeats import queries
from lapel.slices.heartbeats.service import Heartbeats
from lapel.slices.heartbeats.wire import HeartbeatBody
from tests.heartbeats.support import Worn, held, worn
from tests.support.locks import WAITING, until_waiting
from tests.support.patience import LONG
from tests.support.running import Running
from tests.support.tenants import Tenant, bearer

DEVICES = 6
# Two alike of each: `alone_…` sends by itself, `shared_…` with others. The fourth is unbound.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects SELECT 'proj_' || n, 'org_1', 'x', now() FROM generate_series(1, 2) n;
INSERT INTO worlds (project_id, mode) SELECT 'proj_' || n, 'live' FROM generate_series(1, 2) n;
INSERT INTO end_users (world_id, id, config_revision, created_at, updated_at)
    SELECT n % 2 + 1, 'eu_' || n, n, now(), now() FROM generate_series(1, 6) n;
INSERT INTO devices (world_id, id, serial_number, model, name, end_user_id, binding_generation,
        low_battery_since, active_since, initiated_by, created_at, updated_at, heartbeat_slot)
    SELECT n % 2 + 1, kind || n, kind || n, 'm', 'Desk', CASE WHEN n <> 4 THEN 'eu_' || n END, n,
        CASE WHEN n = 1 THEN now() END, CASE WHEN n = 2 THEN now() END, CASE WHEN n = 2 THEN 'local' END,
        now(), now(), CASE WHEN n <> 5 THEN n END
    FROM generate_series(1, 6) n, unnest(ARRAY['alone_', 'shared_']) kind;
INSERT INTO device_tokens (token_hash, world_id, device_id, binding_generation, state, created_at)
    SELECT sha256(d.id::bytea), d.world_id, d.id, d.binding_generation,
        CASE WHEN d.id LIKE '%6' THEN 'refreshing' ELSE 'current' END, now() FROM devices d;
INSERT INTO commands (world_id, id, device_id, end_user_id, binding_generation, type, status, params,
        expires_at, created_at)
    SELECT d.world_id, 'cmd_' || d.id, d.id, d.end_user_id, d.binding_generation, 'trigger_upload', 'pending',
        '{}', '2200-01-01', now() FROM devices d WHERE d.id LIKE '%3';
"""
ROWS = "SELECT * FROM devices WHERE id LIKE $1 ORDER BY world_id, id"
OWN = ("id", "serial_number")


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


FACTS = st.builds(
    queries.ReportedFacts,
    now=st.just(EPOCH + timedelta(days=20_000)),
    battery_percent=maybe(st.integers(0, 100)),
    storage_used_mb=maybe(st.integers(0, 2**40)),
    storage_total_mb=maybe(st.integers(0, 2**40)),
    signal_strength_dbm=maybe(st.integers(-120, 0)),
    firmware_version=maybe(st.sampled_from(["1.0.0", "2.0.0"])),
    name=maybe(st.sampled_from(["Desk", "Bag", "Täsche “1”"])),
    recording_state=maybe(st.sampled_from(['{"device_state": "idle"}', '{"flags": 8}'])),
    device_state=maybe(st.sampled_from(["idle", "syncing"])),
    client_context=maybe(st.sampled_from(['{"a": 1}', '{"a": "\\\\"}'])),
    minute=st.just(20_000 * 24 * 60),
    connection=maybe(st.sampled_from(["wifi", "cellular", "ble"])),
)


@pytest.fixture
async def connection(fresh_database: str) -> AsyncGenerator[asyncpg.Connection[Any]]:
    made = await asyncpg.connect(fresh_database)
    await made.execute(FILL)
    yield made
    await made.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    facts=st.lists(FACTS, min_size=DEVICES, max_size=DEVICES),
    order=st.permutations(range(1, DEVICES + 1)),
    named=st.sampled_from(["nothing", "itself", "another"]),
)
async def test_a_shared_statement_does_what_one_does_for_each(
    connection: asyncpg.Connection[Any], facts: list[queries.ReportedFacts], order: list[int], named: str
) -> None:
    def beat(kind: str, number: int) -> queries.DeviceBeat:
        names = {"nothing": None, "itself": f"{kind}{number}", "another": f"{kind}{number % DEVICES + 1}"}
        token = sha256(f"{kind}{number}".encode()).digest()
        return queries.DeviceBeat(token, names[named], facts[number - 1])

    def shape(row: queries.BeatRow | None) -> dict[str, Any] | None:
        return row and {
            name: getattr(row, name) for name in queries.BeatRow.__struct_fields__ if name not in OWN
        }

    async def states(kind: str) -> list[dict[str, Any]]:
        rows = await connection.fetch(ROWS, f"{kind}%")
        return [{name: value for name, value in row.items() if name not in OWN} for row in rows]

    transaction = connection.transaction()
    await transaction.start()
    shared = await queries.beats_of_devices(connection, [beat("shared_", number) for number in order])
    alone = [
        await queries.beat_of_device(
            connection, each.token_hash, each.device_id, queries.ReportedState(each.facts, None)
        )
        for each in (beat("alone_", number) for number in order)
    ]
    assert [shape(each) for each in shared] == [shape(each) for each in alone]
    assert await states("shared_") == await states("alone_")
    await transaction.rollback()
    taken = [number for number, row in zip(order, shared, strict=True) if row is not None]
    assert sorted(taken) == ([] if named == "another" else [1, 2, 3, 5])
    for number, row in zip(order, shared, strict=True):
        assert row is None or (row.id == f"shared_{number}" and row.waiting == (number == 3))


@pytest.fixture
async def fleet(client: httpx.AsyncClient, ports: Ports, tenant: Tenant, stranger: Tenant) -> list[Worn]:
    """Devices of two projects."""
    return [
        await worn(client, ports, owner, f"TOGETHER{number}")
        for number, owner in enumerate([tenant, stranger] * 3)
    ]


async def test_devices_do_not_wait_for_another_devices_row(fleet: list[Worn]) -> None:
    first, *others = fleet
    async with held(first):
        waiting = asyncio.ensure_future(first.send({"battery_percent": 42}))
        await until_waiting(first.ports, 1)
        for percent in (50, 60):
            answers = await asyncio.gather(*(each.send({"battery_percent": percent}) for each in others))
            assert [each.status_code for each in answers] == [200] * len(others)
    assert (await waiting).status_code == 200
    assert [(await each.row())["battery_percent"] for each in fleet] == [42, *[60] * len(others)]


@pytest.fixture
def patient(live: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats wait for earlier ones of their device as long as a busy machine takes."""
    monkeypatch.setattr(live.services[Heartbeats]._turns, "_patience", LONG)


async def check_one_waits(ports: Ports) -> None:
    """One heartbeat waits for the row, and the others for this one."""
    await until_waiting(ports, 1)
    await asyncio.sleep(0.3)
    async with ports.database.acquire() as connection:
        assert await connection.fetchval(WAITING) == 1


BODIES = [
    {"battery_percent": 30, "diagnostics": {"events": [{"event_id": "a" * 16}]}},
    {"battery_percent": 20},
    {"battery_percent": 10},
]


@pytest.mark.parametrize("bodies", [BODIES, BODIES[::-1]], ids=["diagnostics first", "diagnostics last"])
@pytest.mark.parametrize("authenticated", [False, True])
async def test_a_later_heartbeat_does_not_overtake_one_that_waits_for_the_devices_row(
    live: Running, device: Worn, patient: None, bodies: list[dict[str, Any]], authenticated: bool
) -> None:
    service, token = live.services[Heartbeats], live.ports.hasher.hash(device.token)
    actor = Actor(
        kind="device",
        id=device.id,
        world_id=device.tenant.test_world,
        project_id="proj",
        mode="test",
        token_hash=token,
    )

    async def beat(body: dict[str, Any]) -> object:
        told = msgspec.convert(body, HeartbeatBody)
        if authenticated:
            return await service.of(actor, "me", told)
        return await service.of_device(token, "me", told)

    async with held(device):
        beats = [asyncio.create_task(beat(body)) for body in bodies]
        await check_one_waits(live.ports)
    assert all(await asyncio.gather(*beats))
    assert (await device.row())["battery_percent"] == bodies[-1]["battery_percent"]


async def test_the_first_heartbeats_with_a_new_token_are_stored_in_their_order(
    live: Running, device: Worn, patient: None
) -> None:
    refreshed = await device.client.post("/v1/devices/me/token/refresh", headers=bearer(device.token))
    service, token = live.services[Heartbeats], live.ports.hasher.hash(refreshed.json()["device_token"])
    async with held(device):
        bodies = [HeartbeatBody(battery_percent=percent) for percent in (30, 20, 10)]
        beats = [asyncio.create_task(service.of_device(token, "me", body)) for body in bodies]
        await check_one_waits(live.ports)
    assert all(await asyncio.gather(*beats))
    assert (await device.row())["battery_percent"] == 10
    predecessor = bearer(device.token)
    answer = await device.client.post("/v1/devices/me/token/refresh", headers=predecessor)
    assert answer.status_code == 401  # it ended


async def test_a_heartbeat_that_is_cancelled_lets_the_next_one_in(live: Running, device: Worn) -> None:
    service, token = live.services[Heartbeats], live.ports.hasher.hash(device.token)
    async with held(device):
        first = asyncio.create_task(service.of_device(token, "me", HeartbeatBody(battery_percent=70)))
        await until_waiting(live.ports, 1)
        first.cancel()
        await asyncio.wait([first])
    assert await service.of_device(token, "me", HeartbeatBody(battery_percent=50))
    assert (await device.row())["battery_percent"] == 50


async def test_among_others_a_bad_token_is_401_and_another_ones_id_403(fleet: list[Worn]) -> None:
    first, second, *others = fleet
    answers = await asyncio.gather(
        first.send({"battery_percent": 1}, token=first.token[:-1] + ("1" if first.token[-1] == "0" else "0")),
        second.send({"battery_percent": 2}, device_id=first.id),
        *(each.send({"battery_percent": 3}) for each in others),
    )
    assert [each.status_code for each in answers] == [401, 403, *[200] * len(others)]
    assert [(await each.row())["battery_percent"] for each in fleet] == [None, None, *[3] * len(others)]


async def test_the_heartbeats_of_one_device_are_stored_in_their_order(live: Running, device: Worn) -> None:
    service = live.services[Heartbeats]
    token = live.ports.hasher.hash(device.token)
    for last in (40, 60):
        bodies = [HeartbeatBody(battery_percent=percent) for percent in range(last - 20, last + 1)]
        found = await asyncio.gather(*(service.of_device(token, "me", each) for each in bodies))
        assert all(found)
        assert (await device.row())["battery_percent"] == last
