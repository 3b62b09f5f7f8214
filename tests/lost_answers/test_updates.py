"""Firmware: the offer comes until it is dealt with, and its end is told once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import httpx
import pytest

from tests.lost_answers.fleet import Bound, Fleet, Json
from tests.lost_answers.losing import Call, Losing
from tests.recordings.support import objects

pytestmark = pytest.mark.deep

FIRMWARE = bytes(range(256)) * 64
VERSION = "2.0.0"


@dataclass(slots=True)
class Offered:
    """A device that should update itself."""

    device: Bound
    assignment_id: str


@pytest.fixture
async def release_id(fleet: Fleet) -> str:
    """A released firmware for the devices."""
    answer = await fleet.client.post(
        "/v1/firmware-releases",
        headers=fleet.tenant.headers,
        data={"version": VERSION, "model": "bota_pin"},
        files={"bin": ("firmware.bin", FIRMWARE)},
    )
    assert answer.status_code == 201, answer.text
    release_id: str = answer.json()["id"]
    await fleet.call("POST", f"/v1/firmware-releases/{release_id}/release", fleet.tenant.headers)
    return release_id


async def _offered(fleet: Fleet, release_id: str, *, heard: bool) -> Offered:
    device = await fleet.bound()
    path, body = f"/v1/devices/{device.id}/ota", {"firmware_release_id": release_id}
    answer = await fleet.client.post(path, headers=fleet.tenant.headers, json=body)
    assert answer.status_code in (200, 201), answer.text
    if heard:
        await fleet.call("POST", "/v1/devices/me/heartbeat", device.headers, {"firmware_version": "1.0.0"})
    return Offered(device, answer.json()["id"])


async def _history(fleet: Fleet, offered: Offered) -> list[tuple[str, str]]:
    path = f"/v1/devices/{offered.device.id}/ota/history"
    rows = (await fleet.call("GET", path, fleet.tenant.headers))["data"]
    return [(row["id"], row["status"]) for row in rows]


async def test_an_offer_comes_again_and_its_file_is_the_one_offered(
    lossy: Losing, fleet: Fleet, release_id: str
) -> None:
    async def make() -> Offered:
        return await _offered(fleet, release_id, heard=False)

    def call(offered: Offered) -> Call:
        body = {"firmware_version": "1.0.0"}
        return Call("POST", "/v1/devices/me/heartbeat", offered.device.headers, body)

    async def check(offered: Offered, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        offer = answer.json()["ota"]
        assert (offer["assignment_id"], offer["version"]) == (offered.assignment_id, VERSION)
        assert offer["bin_sha256"] == hashlib.sha256(FIRMWARE).hexdigest()
        assert (await fleet.client.get(offer["download_url"])).content == FIRMWARE
        assert await _history(fleet, offered) == [(offered.assignment_id, "delivered")]

    await lossy.everywhere(make, call, check)


@pytest.mark.parametrize("status", ["applied", "failed"])
async def test_the_end_of_an_update_is_told_once(
    lossy: Losing, fleet: Fleet, release_id: str, status: str
) -> None:
    async def make() -> Offered:
        return await _offered(fleet, release_id, heard=True)

    def call(offered: Offered) -> Call:
        failure: Json = {"assignment_id": offered.assignment_id, "status": "failed", "error_message": "worn"}
        body = {"firmware_version": VERSION} if status == "applied" else {"ota_result": failure}
        return Call("POST", "/v1/devices/me/heartbeat", offered.device.headers, body)

    async def check(offered: Offered, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        assert answer.json()["ota"] is None
        assert await _history(fleet, offered) == [(offered.assignment_id, status)]
        assert await fleet.events(offered.assignment_id, f"ota.{status}") == 1

    await lossy.everywhere(make, call, check)


async def test_an_offer_is_made_once(lossy: Losing, fleet: Fleet, release_id: str) -> None:
    def call(device: Bound) -> Call:
        headers = {**fleet.tenant.headers, "Idempotency-Key": f"ota-{device.id}"}
        return Call("POST", f"/v1/devices/{device.id}/ota", headers, {"firmware_release_id": release_id})

    async def check(device: Bound, answer: httpx.Response) -> None:
        assert answer.status_code in (200, 201), answer.text
        assert await fleet.number("ota_assignments", device_id=device.id) == 1
        assert await fleet.number("ota_assignments", id=answer.json()["id"]) == 1

    await lossy.everywhere(fleet.bound, call, check)


async def test_firmware_is_uploaded_once(lossy: Losing, fleet: Fleet) -> None:
    """A repeat is told which release its lost call has made."""

    async def make() -> str:
        return fleet.name()

    def call(version: str) -> Call:
        form = httpx.Request(
            "POST",
            fleet.client.base_url,
            data={"version": version, "model": "bota_pin"},
            files={"bin": ("firmware.bin", FIRMWARE)},
        )
        headers = {**fleet.tenant.headers, "Content-Type": form.headers["Content-Type"]}
        return Call("POST", "/v1/firmware-releases", headers, content=form.read())

    async def check(version: str, answer: httpx.Response) -> None:
        assert answer.status_code in (201, 409), answer.text
        told = answer.json()
        release_id = told["id"] if answer.status_code == 201 else told["error"]["resource_id"]
        assert await fleet.number("firmware_releases", version=version) == 1
        assert await fleet.number("firmware_releases", version=version, id=release_id) == 1
        names = await objects(fleet.ports, f"firmware/{fleet.tenant.project_id}/{release_id}/")
        assert len(names) == 1

    await lossy.everywhere(make, call, check)
