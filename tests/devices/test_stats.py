"""The fleet in numbers, and what is known of one device."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest

from lapel.foundation.database.pool import Database
from lapel.foundation.ports import Ports
from lapel.slices.devices.counting import FleetCounts
from tests.devices.conftest import Registry
from tests.support.tenants import Tenant, bearer, make_key

REPORT = """
UPDATE devices SET last_heartbeat_at = $3, battery_percent = $4, storage_used_mb = $5, storage_total_mb = $6
WHERE world_id = $1 AND id = $2
"""
SYNCED = "UPDATE devices SET last_synced_at = $3, last_synced_by = 'wifi' WHERE world_id = $1 AND id = $2"
COUNTS = ("total_count", "online_count", "low_battery_count", "storage_full_count")


async def report(
    ports: Ports,
    tenant: Tenant,
    device: str,
    ago: timedelta | None = None,
    battery: int | None = None,
    used: int | None = None,
    total: int | None = None,
) -> None:
    at = None if ago is None else ports.clock.now() - ago
    async with ports.database.acquire() as connection:
        await connection.execute(REPORT, tenant.test_world, device, at, battery, used, total)


@pytest.mark.parametrize(
    ("ago", "battery", "used", "total", "counts"),
    [
        (None, None, None, None, (0, 0, 0)),
        (timedelta(minutes=14, seconds=50), 15, 90, 100, (1, 0, 0)),
        (timedelta(minutes=15, seconds=1), 14, 91, 100, (0, 1, 1)),
        (timedelta(0), 0, 2**53 - 1, 2**53 - 1, (1, 1, 1)),
        (timedelta(0), 100, 0, 0, (1, 0, 0)),
        (timedelta(0), None, 5, None, (1, 0, 0)),
        (timedelta(0), None, None, 5, (1, 0, 0)),
    ],
)
async def test_each_count_has_its_edge(
    registry: Registry,
    ports: Ports,
    ago: timedelta | None,
    battery: int | None,
    used: int | None,
    total: int | None,
    counts: tuple[int, ...],
) -> None:
    device = await registry.device("STATS001")
    await report(ports, registry.tenant, device, ago, battery, used, total)
    stats = await registry.get("/devices/stats")
    assert set(stats) == {*COUNTS, "data"}
    assert tuple(stats[name] for name in COUNTS) == (1, *counts)
    assert stats["data"] == [await registry.get(f"/devices/{device}")]
    assert (await registry.get(f"/devices/{device}/state"))["online"] == bool(counts[0])


async def test_its_devices_are_the_newest_hundred(registry: Registry, ports: Ports) -> None:
    async with ports.database.acquire() as connection:
        await connection.execute(
            """
            INSERT INTO devices (world_id, id, serial_number, model, created_at, updated_at)
            SELECT $1, 'dev_' || lpad(n::text, 24, '0'), 'many' || n, 'm', now() - make_interval(secs => n),
                now()
            FROM generate_series(1, 130) n
            """,
            registry.tenant.test_world,
        )
    stats = await registry.get("/devices/stats")
    assert stats["total_count"] == 130
    assert stats["data"] == (await registry.get("/devices?limit=100"))["data"]
    assert len(stats["data"]) == 100
    # Large ones are fewer: both end before 1 MiB of JSON.
    async with ports.database.acquire() as connection:
        await connection.execute(
            "UPDATE devices SET metadata = jsonb_build_object('a', repeat('x', 16000)) WHERE world_id = $1",
            registry.tenant.test_world,
        )
    stats, page = await registry.get("/devices/stats"), await registry.get("/devices?limit=100")
    assert 1 < len(stats["data"]) < 100
    assert stats["data"] == page["data"]
    assert (stats["total_count"], page["has_more"]) == (130, True)


async def test_an_end_users_key_counts_their_devices(
    registry: Registry, client: httpx.AsyncClient, ports: Ports
) -> None:
    one, _ = await registry.bound("STATS002"), await registry.bound("STATS003")
    await report(ports, registry.tenant, one["id"], timedelta(0), 10)
    key = await make_key(ports, registry.tenant.test_world, "rk_test", end_user_id=one["end_user_id"])
    stats = (await client.get("/v1/devices/stats", headers=bearer(key))).json()
    assert tuple(stats[name] for name in COUNTS) == (1, 1, 1, 0)
    assert [each["id"] for each in stats["data"]] == [one["id"]]
    assert (await registry.get("/devices/stats"))["total_count"] == 2


async def test_only_the_counts_of_a_large_fleet_are_told_again(fresh_database: str) -> None:
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(fresh_database)
    database = Database(fresh_database)
    await database.open()
    seconds = 0.0
    counts, now = FleetCounts(database, lambda: seconds), datetime(2026, 1, 15, tzinfo=UTC)

    async def total() -> int:
        return (await counts.of_world(1, now)).total_count

    try:
        await connection.execute(FLEET)
        await connection.execute(MORE, 1, 10_000)
        assert await total() == 10_000
        await connection.execute(MORE, 10_001, 20_000)
        assert await total() == 20_000
        await connection.execute(MORE, 20_001, 20_001)
        for seconds, expected in ((0.0, 20_000), (0.19, 20_000), (0.2, 20_001)):  # noqa: B007 - read by the clock
            assert await total() == expected
        assert (await counts.of_world(2, now)).total_count == 0
    finally:
        await database.close()
        await connection.close()


FLEET = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects VALUES ('proj_1', 'org_1', 'x', now());
INSERT INTO worlds (id, project_id, mode) OVERRIDING SYSTEM VALUE
VALUES (1, 'proj_1', 'live'), (2, 'proj_1', 'test');
"""
MORE = """
INSERT INTO devices (world_id, id, serial_number, model, created_at, updated_at)
SELECT 1, 'dev_' || n, 's' || n, 'm', now(), now() FROM generate_series($1::integer, $2::integer) n
"""


async def test_the_state_of_a_device_that_never_reported(registry: Registry) -> None:
    bound = await registry.bound("STATE001")
    assert await registry.get(f"/devices/{bound['id']}/state") == {
        "device_id": bound["id"],
        "online": False,
        "recording": {"active": False, "recording_id": None, "started_at": None, "initiated_by": None},
        "battery_percent": None,
        "storage_used_mb": None,
        "storage_total_mb": None,
        "signal_strength_dbm": None,
        "last_heartbeat_at": None,
        "recording_state": None,
        "last_synced_at": None,
        "last_seen_by": None,
        "last_synced_by": None,
        "binding_generation": 1,
    }


async def test_who_may_read_states_and_settings(
    registry: Registry, client: httpx.AsyncClient, ports: Ports
) -> None:
    own, other = await registry.bound("STATE002"), await registry.bound("STATE003")
    key = await make_key(ports, registry.tenant.test_world, "rk_test", end_user_id=own["end_user_id"])
    token = await registry.ask("POST", f"/end-users/{own['end_user_id']}/token")
    for credentials in (key, token.json()["token"]):
        for route in ("state", "settings"):
            for device, status in ((own["id"], 200), (other["id"], 404)):
                answer = await client.get(f"/v1/devices/{device}/{route}", headers=bearer(credentials))
                assert answer.status_code == status
        for method, path, body in (
            ("PATCH", "", {"name": "x"}),
            ("PUT", "/settings", {}),
            ("PATCH", "/settings", {}),
        ):
            answer = await client.request(
                method, f"/v1/devices/{own['id']}{path}", json=body, headers=bearer(credentials)
            )
            assert answer.status_code == 403
    # A device asks for none of it.
    for path in ("/stats", f"/{own['id']}/state", f"/{own['id']}/settings"):
        answer = await client.get(f"/v1/devices{path}", headers=bearer(own["device_token"]))
        assert answer.status_code == 403


async def test_an_end_user_sees_no_report_of_the_wearer_before(
    registry: Registry, client: httpx.AsyncClient, ports: Ports
) -> None:
    first = await registry.bound("STATE004")
    path = f"/devices/{first['id']}"
    low = {"battery_percent": 5, "storage_used_mb": 95, "storage_total_mb": 100}
    report = {**low, "signal_strength_dbm": -70, "device_state": "idle"}
    beat = await client.post(f"/v1{path}/heartbeat", json=report, headers=bearer(first["device_token"]))
    assert beat.status_code == 200
    async with ports.database.acquire() as connection:
        await connection.execute(SYNCED, registry.tenant.test_world, first["id"], ports.clock.now())
    before = await registry.get(path)
    await registry.ask("POST", f"{path}/unbind")
    person = (await registry.ask("POST", "/end-users")).json()["id"]
    bound = (await registry.ask("POST", f"{path}/bind", {"end_user_id": person})).json()
    issued = (await registry.ask("POST", f"/end-users/{person}/token", {})).json()["token"]
    key = await make_key(ports, registry.tenant.test_world, "rk_test", end_user_id=person)
    names = ("last_heartbeat_at", "recording_state", "signal_strength_dbm", "last_synced_at", *low)
    for token in (issued, key):
        shown = [
            (await client.get(f"/v1{at}", headers=bearer(token))).json() for at in (path, f"{path}/state")
        ]
        listed = (await client.get("/v1/devices", headers=bearer(token))).json()["data"][0]
        stats = (await client.get("/v1/devices/stats", headers=bearer(token))).json()
        for each in (*shown, listed, stats["data"][0]):
            assert {name: each[name] for name in names} == dict.fromkeys(names)
        assert shown[0]["last_seen_at"] is None
        assert (shown[1]["online"], shown[1]["last_seen_by"]) == (False, None)
        assert tuple(stats[name] for name in COUNTS) == (1, 0, 0, 0)
    # The project sees what it saw.
    assert {name: (await registry.get(path))[name] for name in names} == {
        name: before[name] for name in names
    }
    assert (await registry.get("/devices/stats"))["low_battery_count"] == 1
    # The first heartbeat does not bring back what it leaves out, for anyone.
    beat = await client.post(
        f"/v1{path}/heartbeat", json={"battery_percent": 80}, headers=bearer(bound["device_token"])
    )
    assert beat.status_code == 200
    for token in (issued, key, registry.tenant.test_key):
        for at in (path, f"{path}/state"):
            seen = (await client.get(f"/v1{at}", headers=bearer(token))).json()
            left_out = ("storage_used_mb", "storage_total_mb", "signal_strength_dbm", "recording_state")
            assert {name: seen[name] for name in left_out} == dict.fromkeys(left_out)
            assert seen["battery_percent"] == 80
            assert seen["last_heartbeat_at"] is not None
    seen = (await client.get(f"/v1{path}", headers=bearer(issued))).json()
    assert seen["last_synced_at"] is None
