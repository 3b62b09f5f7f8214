"""A command is given once, delivered until it is reported, and reported once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.lost_answers.fleet import Bound, Fleet
from tests.lost_answers.losing import Call, Losing

pytestmark = pytest.mark.deep


@dataclass(slots=True)
class Told:
    """A device that has something to do."""

    device: Bound
    command_id: str


async def test_a_command_is_given_once(lossy: Losing, fleet: Fleet) -> None:
    def call(device: Bound) -> Call:
        body = {"type": "start_recording", "idempotency_key": "once"}
        return Call("POST", f"/v1/devices/{device.id}/commands", fleet.tenant.headers, body)

    async def check(device: Bound, answer: httpx.Response) -> None:
        assert answer.status_code in (200, 201), answer.text
        assert await fleet.number("commands", device_id=device.id) == 1
        assert await fleet.number("commands", id=answer.json()["id"]) == 1

    await lossy.everywhere(fleet.bound, call, check)


async def test_a_command_is_listed_again_after_its_delivery_was_lost(lossy: Losing, fleet: Fleet) -> None:
    async def make() -> Told:
        return await _told(fleet)

    def call(told: Told) -> Call:
        return Call("GET", f"/v1/devices/{told.device.id}/commands/pending", told.device.headers)

    async def check(told: Told, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        listed = [(each["id"], each["status"]) for each in answer.json()["data"]]
        assert listed == [(told.command_id, "delivered")]

    await lossy.everywhere(make, call, check)


async def test_a_report_is_taken_once(lossy: Losing, fleet: Fleet) -> None:
    async def make() -> Told:
        told = await _told(fleet)
        await fleet.call("GET", f"/v1/devices/{told.device.id}/commands/pending", told.device.headers)
        return told

    def call(told: Told) -> Call:
        path = f"/v1/devices/{told.device.id}/commands/{told.command_id}/ack"
        return Call("POST", path, told.device.headers, {"status": "executed", "result": {"files": 2}})

    first: dict[str, Any] = {}

    async def check(told: Told, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        path = f"/v1/devices/{told.device.id}/commands"
        row = await fleet.call("GET", f"{path}/{told.command_id}", fleet.tenant.headers)
        assert (row["status"], row["result"]) == ("executed", {"files": 2})
        assert first.setdefault(told.command_id, row["executed_at"]) == row["executed_at"]
        assert (await fleet.call("GET", f"{path}/pending", told.device.headers))["data"] == []

    await lossy.everywhere(make, call, check)


async def _told(fleet: Fleet) -> Told:
    device = await fleet.bound()
    return Told(device, await fleet.command(device))
