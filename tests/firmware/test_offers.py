"""What a device is offered, hears of, reports, and what is told of it: each ends once, and in one way."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from lapel.foundation.core.clock import ManualClock, timestamp
from lapel.foundation.ports import Ports
from lapel.slices.firmware.service import Firmware
from tests.firmware.support import MODEL, Fleet
from tests.support.client import api_client
from tests.support.running import Running, running
from tests.support.tenants import Tenant, bearer, make_key, make_tenant

HOUR = timedelta(hours=1)


@pytest.fixture
async def slow(fresh_database: str, tmp_path: Path) -> AsyncGenerator[tuple[Fleet, ManualClock, Running]]:
    """A fleet whose time a test turns."""
    clock = ManualClock(datetime(2026, 5, 1, 12, tzinfo=UTC))
    async with running(tmp_path, fresh_database, clock=clock) as live, api_client(live.url) as client:
        yield Fleet(client, await make_tenant(live.ports), live.ports), clock, live


async def test_an_offer_rides_in_heartbeats_until_the_device_runs_it(fleet: Fleet) -> None:
    content = b"new firmware" * 100
    device = await fleet.device()
    release = await fleet.released(content, version="1.5.0", release_sequence="3", allow_downgrade="true")
    made = await fleet.assign(device, release["id"], deadline_hours=5)
    assert made == {
        "id": made["id"],
        "device_id": device,
        "firmware_release_id": release["id"],
        "status": "pending",
        "assigned_at": made["assigned_at"],
        "delivered_at": None,
        "applied_at": None,
        "error_message": None,
    }
    assert await fleet.current(device) == made
    for _ in range(2):
        manifest = await fleet.heartbeat(device, firmware_version="0.9.0")
        assert manifest is not None
        got = await fleet.client.get(manifest["download_url"])
        assert got.content == content
        assert manifest == {
            "assignment_id": made["id"],
            "firmware_release_id": release["id"],
            "version": "1.5.0",
            "model": MODEL,
            "bin_sha256": hashlib.sha256(content).hexdigest(),
            "bin_file_size_bytes": len(content),
            "bin_crc32": f"{zlib.crc32(content):08x}",
            "release_sequence": 3,
            "allow_downgrade": True,
            "download_url": manifest["download_url"],
            "expires_at": manifest["expires_at"],
            "deadline_at": manifest["deadline_at"],
        }
    delivered = await fleet.current(device)
    assert delivered is not None
    assert (delivered["status"], delivered["applied_at"]) == ("delivered", None)
    for _ in range(2):
        assert await fleet.heartbeat(device, firmware_version="1.5.0") is None
    (applied,) = await fleet.history(device)
    assert await fleet.current(device) == applied
    assert applied == {**delivered, "status": "applied", "applied_at": applied["applied_at"]}
    assert await fleet.events() == [
        (
            "ota.applied",
            {
                **applied,
                "version": "1.5.0",
                "model": MODEL,
                "project_id": fleet.tenant.project_id,
                "assignment": applied,
            },
        )
    ]


async def test_a_manifest_without_sequence_says_nothing_of_downgrades(fleet: Fleet) -> None:
    device, release = await fleet.device(), await fleet.released()
    await fleet.assign(device, release["id"])
    manifest = await fleet.heartbeat(device)
    assert manifest is not None
    assert not {"release_sequence", "allow_downgrade"} & set(manifest)


async def test_a_failure_that_the_device_reports_is_told_once(fleet: Fleet) -> None:
    device, release = await fleet.device(), await fleet.released()
    made = await fleet.assign(device, release["id"])
    assert await fleet.heartbeat(device) is not None
    report = {"assignment_id": made["id"], "status": "failed", "error_message": "flash: bad block"}
    for _ in range(2):
        assert await fleet.heartbeat(device, ota_result=report) is None
    (failed,) = await fleet.history(device)
    assert (failed["status"], failed["error_message"]) == ("failed", "flash: bad block")
    assert [(kind, data["id"]) for kind, data in await fleet.events()] == [("ota.failed", made["id"])]
    again = await fleet.assign(device, release["id"])
    assert await fleet.heartbeat(device, ota_result=report) is not None  # of the one before: nothing new
    assert await fleet.heartbeat(device, firmware_version=release["version"]) is None
    assert [data["id"] for _, data in await fleet.events()] == [made["id"], again["id"]]


async def test_nobody_reports_for_another_device(fleet: Fleet) -> None:
    one, other = await fleet.devices(2)
    release = await fleet.released()
    made = await fleet.assign(one, release["id"])
    report = {"assignment_id": made["id"], "status": "failed", "error_message": "x"}
    await fleet.heartbeat(other, ota_result=report, firmware_version=release["version"])
    current = await fleet.current(one)
    assert current is not None
    assert current["status"] == "pending"
    assert await fleet.events() == []


async def test_a_deadline_ends_it_by_the_clock(slow: tuple[Fleet, ManualClock, Running]) -> None:
    fleet, clock, live = slow
    silent, busy = await fleet.devices(2)
    release = await fleet.released(version="3.0")
    for device in (silent, busy):
        await fleet.assign(device, release["id"], deadline_hours=2)
    assert await fleet.heartbeat(busy) is not None
    clock.advance(2 * HOUR)
    for _ in range(2):  # by the clock, and then by the sweep
        late = await fleet.current(silent)
        assert late is not None
        assert late["status"] == "failed"
        assert await fleet.heartbeat(busy) is None
        assert [each["error_message"] for each in await fleet.history(silent)] == [
            "The device was not heard before the deadline."
        ]
        (late,) = await fleet.history(busy)
        assert (late["status"], late["error_message"]) == (
            "failed",
            "The device did not report version 3.0 before the deadline.",
        )
        assert await live.services[Firmware].sweeps.end_late() in (0, 2)
        assert sorted(kind for kind, _ in await fleet.events()) == ["ota.failed", "ota.failed"]
    assert await live.services[Firmware].sweeps.end_late() == 0
    assert await fleet.heartbeat(busy, firmware_version="3.0") is None  # too late
    assert [each["status"] for each in await fleet.history(busy)] == ["failed"]
    clock.advance(HOUR)
    await fleet.assign(silent, release["id"])
    manifest = await fleet.heartbeat(silent)
    assert manifest is not None
    assert manifest["deadline_at"] == timestamp(clock.now() + timedelta(hours=72))


async def test_assigning_ends_what_is_late_before_the_sweep_does(
    slow: tuple[Fleet, ManualClock, Running],
) -> None:
    fleet, clock, live = slow
    device, release = await fleet.device(), await fleet.released()
    first = await fleet.assign(device, release["id"], deadline_hours=1)
    clock.advance(HOUR)
    await fleet.assign(device, release["id"])
    assert [(kind, data["id"]) for kind, data in await fleet.events()] == [("ota.failed", first["id"])]
    assert await live.services[Firmware].sweeps.end_late() == 0


async def test_another_release_takes_the_place_of_the_first(fleet: Fleet) -> None:
    device = await fleet.device()
    first, second = await fleet.released(), await fleet.released()
    await fleet.assign(device, first["id"])
    assert await fleet.heartbeat(device) is not None
    made = await fleet.assign(device, second["id"])
    manifest = await fleet.heartbeat(device)
    assert manifest is not None
    assert manifest["assignment_id"] == made["id"]
    assert [(each["status"], each["error_message"]) for each in await fleet.history(device)] == [
        ("delivered", None),
        ("cancelled", "Another release was assigned."),
    ]
    await fleet.heartbeat(device, firmware_version=first["version"])
    assert await fleet.events() == []


async def test_taking_it_back(fleet: Fleet) -> None:
    device, release = await fleet.device(), await fleet.released()
    await fleet.assign(device, release["id"])
    for _ in range(2):
        await fleet.call("DELETE", f"/v1/devices/{device}/ota", 204)
    assert await fleet.heartbeat(device) is None
    (taken,) = await fleet.history(device)
    assert (taken["status"], taken["applied_at"]) == ("cancelled", None)
    assert await fleet.current(device) == taken
    await fleet.call("DELETE", "/v1/devices/dev_unknown/ota", 404)


async def test_a_deleted_device_is_offered_nothing(fleet: Fleet) -> None:
    device, release = await fleet.device(), await fleet.released()
    await fleet.assign(device, release["id"])
    await fleet.call("DELETE", f"/v1/devices/{device}", 204)
    await fleet.assign(device, release["id"], 404)
    await fleet.call("GET", f"/v1/devices/{device}/ota", 404)
    await fleet.call("GET", f"/v1/devices/{device}/ota/history", 404)
    async with fleet.ports.database.acquire() as connection:
        states = await connection.fetch("SELECT status FROM ota_assignments WHERE device_id = $1", device)
    assert [row["status"] for row in states] == ["cancelled"]


async def test_what_may_not_be_offered(fleet: Fleet) -> None:
    device = await fleet.device(firmware_version="1.1")
    draft = await fleet.upload()
    assert (await fleet.assign(device, draft["id"], 409))["error"]["message"].startswith(
        "This firmware is not"
    )
    other = await fleet.released(model="bota_note")
    refused = await fleet.assign(device, other["id"], 400)
    assert refused["error"]["param"] == "firmware_release_id"
    same = await fleet.released(version="1.1", release_sequence="5")
    await fleet.assign(device, same["id"], 409)
    for sequence in ("4", "5"):
        older = await fleet.released(release_sequence=sequence)
        refused = await fleet.assign(device, older["id"], 409)
        assert "does not allow a downgrade" in refused["error"]["message"]
    await fleet.assign(device, (await fleet.released(release_sequence="6"))["id"])
    await fleet.assign(device, (await fleet.released(release_sequence="4", allow_downgrade="1"))["id"])
    await fleet.assign(device, (await fleet.released())["id"])  # nobody knows whether it is one
    await fleet.assign(device, "fw_unknown", 404)
    await fleet.assign("dev_unknown", same["id"], 404)
    for wrong in ({"deadline_hours": 0}, {"deadline_hours": 8761}, {"deadline_hours": 1.5}):
        await fleet.assign(device, same["id"], 400, **wrong)


async def test_of_many_offers_at_once_one_stands(fleet: Fleet) -> None:
    device = await fleet.device()
    releases = [await fleet.released() for _ in range(4)]

    async def assign(release_id: str) -> int:
        body = {"firmware_release_id": release_id}
        path = f"/v1/devices/{device}/ota"
        answer = await fleet.client.post(path, json=body, headers=fleet.tenant.headers)
        return answer.status_code

    statuses = await asyncio.gather(*(assign(each["id"]) for each in releases * 3))
    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    history = await fleet.history(device)
    assert [each["status"] for each in history].count("pending") == 1
    assert len(history) == statuses.count(201)


async def test_reports_at_once_end_it_once(fleet: Fleet) -> None:
    for _ in range(5):
        device, release = await fleet.device(), await fleet.released()
        made = await fleet.assign(device, release["id"])
        await fleet.heartbeat(device)
        report = {"assignment_id": made["id"], "status": "failed", "error_message": "x"}
        await asyncio.gather(
            *(fleet.heartbeat(device, firmware_version=release["version"]) for _ in range(4)),
            *(fleet.heartbeat(device, ota_result=report) for _ in range(4)),
            fleet.call("DELETE", f"/v1/devices/{device}/ota", 204),
        )
        (ended,) = await fleet.history(device)
        told = [kind for kind, data in await fleet.events() if data["id"] == made["id"]]
        assert told == ([] if ended["status"] == "cancelled" else [f"ota.{ended['status']}"])


async def test_an_end_users_key_sees_its_own_devices_updates(
    fleet: Fleet, ports: Ports, client: httpx.AsyncClient
) -> None:
    owner, other = [(await fleet.call("POST", "/v1/end-users", 201, {}))["id"] for _ in range(2)]
    device, release = await fleet.device(), await fleet.released()
    await fleet.call("POST", f"/v1/devices/{device}/bind", 200, {"end_user_id": owner})
    made = await fleet.assign(device, release["id"])
    for end_user, status in ((owner, 200), (other, 404)):
        key = await make_key(
            ports, fleet.tenant.test_world, "rk_test", scopes=("devices:read",), end_user_id=end_user
        )
        for path, expected in (("ota", made), ("ota/history", [made])):
            answer = await client.get(f"/v1/devices/{device}/{path}", headers=bearer(key))
            assert answer.status_code == status
            assert answer.json().get("data") == (expected if status == 200 else None)
        found = await client.get("/v1/firmware-releases", params={"device_id": device}, headers=bearer(key))
        assert found.status_code == status
        assert (await client.get("/v1/firmware-releases", headers=bearer(key))).json()["data"] == []


async def test_strangers_have_other_devices_and_firmware(
    fleet: Fleet, stranger: Tenant, ports: Ports, client: httpx.AsyncClient
) -> None:
    theirs = Fleet(client, stranger, ports)
    device, release = await fleet.device(), await fleet.released()
    their_device, their_release = await theirs.device(), await theirs.released()
    await fleet.assign(device, their_release["id"], 404)
    await theirs.assign(device, their_release["id"], 404)
    await fleet.assign(their_device, release["id"], 404)


async def test_history_is_the_newest_twenty_or_as_many_as_asked_for(fleet: Fleet) -> None:
    device, release = await fleet.device(), await fleet.released()
    made = [(await fleet.assign(device, release["id"]))["id"] for _ in range(22)][::-1]
    path = f"/v1/devices/{device}/ota/history"
    asked: list[tuple[dict[str, Any], int]] = [({}, 20), ({"limit": "1"}, 1), ({"limit": "100"}, 22)]
    for query, shown in asked:
        page = await fleet.call("GET", path, 200, **query)
        assert set(page) == {"data"}
        assert [each["id"] for each in page["data"]] == made[:shown]
    for limit in ("0", "101"):
        await fleet.call("GET", path, 400, limit=limit)


async def test_the_newest_assignment_is_shown_whatever_became_of_it(fleet: Fleet) -> None:
    """A watcher that comes back later must see `applied` or `failed`."""
    device, other = await fleet.device(), await fleet.device()
    assert await fleet.current(device) is None
    release = await fleet.released()
    for ended in ("cancelled", "failed", "applied"):
        made = await fleet.assign(device, release["id"])
        assert await fleet.heartbeat(device) is not None
        if ended == "cancelled":
            await fleet.call("DELETE", f"/v1/devices/{device}/ota", 204)
        elif ended == "failed":
            report = {"assignment_id": made["id"], "status": "failed"}
            await fleet.heartbeat(device, ota_result=report)
        else:
            await fleet.heartbeat(device, firmware_version=release["version"])
        shown = await fleet.current(device)
        assert shown is not None
        assert (shown["id"], shown["status"]) == (made["id"], ended)
    assert await fleet.current(other) is None


async def test_a_rollout_with_a_misspelled_share_is_none(fleet: Fleet) -> None:
    release = await fleet.released()
    refused = await fleet.roll_out(release, 400, percents=1)
    assert refused["error"]["message"] == "`percents` is not known here. Did you mean `percent`?"
    listed = await fleet.call("GET", f"/v1/firmware-releases/{release['id']}/rollouts", 200)
    assert listed["data"] == []
