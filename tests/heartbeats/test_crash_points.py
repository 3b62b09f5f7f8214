"""A process may end between a heartbeat's statement and what is rare: the repeat does it, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from lapel.hosting.sockets import listen
from lapel.slices.heartbeats.slice import SLICE
from tests.faults.processes import CRASHED, armed, errand, process, run_schedules
from tests.firmware.support import Fleet
from tests.heartbeats.support import worn
from tests.support.client import api_client
from tests.support.locks import until_waiting
from tests.support.running import Running, running, settings_for
from tests.support.tenants import make_tenant

SWEEP = "heartbeat:silent"
WRITERS = "SELECT count(DISTINCT xmin::text) FROM devices WHERE battery_percent = 4"


@asynccontextmanager
async def dying_api(live: Running, folder: Path, point: str) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of one more API process, which ends at this point before the block ends."""
    crash, marker = armed(folder, point)
    with listen("127.0.0.1", 0)[0] as listener:
        settings = settings_for(
            live.settings.data_dir,
            live.settings.database_url or "",
            listener.getsockname()[1],
            LAPEL_S3_ENDPOINT=live.settings.s3_endpoint or "",
        )
        async with (
            process("api", settings, crash=crash, listener=listener),
            api_client(f"http://127.0.0.1:{settings.port}") as client,
        ):
            yield client
            for _ in range(600):
                if not marker.exists():
                    break
                await asyncio.sleep(0.05)
    assert not marker.exists()


@pytest.mark.parametrize("point", [point for point in SLICE.crash_points if point != SWEEP])
async def test_a_process_that_dies_has_answered_nothing_and_the_repeat_does_it_once(
    fresh_database: str, tmp_path: Path, point: str
) -> None:
    async with running(tmp_path / "data", fresh_database) as live, api_client(live.url) as client:
        device = await worn(client, live.ports, await make_tenant(live.ports))
        fleet = Fleet(client, device.tenant, live.ports)
        release = await fleet.released(version="2.0.0", model="bota_pin")
        await fleet.assign(device.id, release["id"])
        assert (await device.beat())["ota"] is not None
        body = {
            "battery_percent": 4,
            "firmware_version": "2.0.0",
            "diagnostics": {"events": [{"event_id": "a" * 16}]},
        }
        async with dying_api(live, tmp_path, point) as dying:
            with pytest.raises(httpx.TransportError):
                await replace(device, client=dying).send(body)
        # What the statement did was done whole.
        row = await device.row()
        assert (row["battery_percent"], row["firmware_version"]) == (4, "2.0.0")
        assert row["low_battery_since"] is None
        assert await device.events("device.low_battery") == []
        assert await fleet.events() == []

        for _ in range(2):
            answer = await device.beat(**body)
            assert (answer["ota"], answer["accepted_event_ids"]) == (None, ["a" * 16])
        assert len(await device.events("device.low_battery")) == 1
        assert [type_ for type_, _ in await fleet.events()] == ["ota.applied"]
        assert len(await device.diagnostics()) == 1


async def test_of_devices_that_share_a_statement_each_gets_no_answer_and_its_repeat_one(
    fresh_database: str, tmp_path: Path
) -> None:
    async with running(tmp_path / "data", fresh_database) as live, api_client(live.url) as client:
        tenant = await make_tenant(live.ports)
        fleet = [await worn(client, live.ports, tenant, f"SHARED{number}") for number in range(6)]
        unbound = [await worn(client, live.ports, tenant, f"UNBOUND{number}") for number in range(2)]
        for each in unbound:
            await each.post("/unbind")
        async with dying_api(live, tmp_path, "heartbeat:stored") as dying:
            async with live.ports.database.transaction() as connection:
                # While two statements wait, no third one begins, and the others line up. The next statement
                # has half of them.
                await connection.execute("LOCK TABLE devices IN EXCLUSIVE MODE")
                others: list[asyncio.Future[httpx.Response]] = []
                for number, each in enumerate(unbound, 1):
                    others.append(asyncio.ensure_future(replace(each, client=dying).send({})))
                    await until_waiting(live.ports, number)
                sent = [
                    asyncio.ensure_future(replace(each, client=dying).send({"battery_percent": 4}))
                    for each in fleet
                ]
                await asyncio.sleep(1)  # until all of them have arrived, and have been read
                assert (await dying.get("/health")).status_code == 200
            refused = await asyncio.gather(*sent, return_exceptions=True)
            assert all(isinstance(each, httpx.TransportError) for each in refused), refused
            await asyncio.gather(*others, return_exceptions=True)
        stored = [(await each.row())["battery_percent"] for each in fleet]
        assert sorted(stored, key=str) == [4] * 4 + [None] * 2
        async with live.ports.database.acquire() as connection:
            writers = await connection.fetchval(WRITERS)
        assert writers == 1, "they did not share a statement"
        for each in fleet:
            assert await each.events("device.low_battery") == []
            await each.beat(battery_percent=4)
            assert len(await each.events("device.low_battery")) == 1


async def test_a_worker_that_dies_in_the_sweep_tells_of_a_silence_once(
    fresh_database: str, tmp_path: Path
) -> None:
    crash, marker = armed(tmp_path, SWEEP)
    later = timedelta(minutes=20)
    async with running(tmp_path / "data", fresh_database) as live, api_client(live.url) as client:
        device = await worn(client, live.ports, await make_tenant(live.ports))
        await device.beat()
        assert await errand(live.settings, crash, later) == CRASHED
        assert not marker.exists()
        assert await device.events("device.offline") == []
        for _ in range(2):
            await run_schedules(live.settings, later)
        assert len(await device.events("device.offline")) == 1
