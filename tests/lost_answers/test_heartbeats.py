"""A heartbeat may be sent again: what it tells is kept once, and what it answers comes again."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import pytest

from tests.lost_answers.fleet import Bound, Fleet, Json
from tests.lost_answers.losing import Call, Losing

pytestmark = pytest.mark.deep

EVENTS = ["00000000000000aa", "00000000000000bb"]
REPORT: Json = {
    "battery_percent": 9,
    "firmware_version": "1.0.0",
    "device_state": "lowBattery",
    "diagnostics": {"schema_version": 1, "events": [{"event_id": each, "kind": "reboot"} for each in EVENTS]},
}


@dataclass(slots=True)
class Told:
    """A device that has something to do."""

    device: Bound
    command_id: str


async def test_a_repeated_heartbeat_has_one_effect_and_the_whole_answer(lossy: Losing, fleet: Fleet) -> None:
    """Diagnostics once and acknowledged, one low-battery event, and the command that was not heard of."""

    async def make() -> Told:
        device = await fleet.bound()
        return Told(device, await fleet.command(device))

    def call(told: Told) -> Call:
        return Call("POST", "/v1/devices/me/heartbeat", told.device.headers, REPORT)

    async def check(told: Told, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        beat = answer.json()
        assert sorted(beat["accepted_event_ids"]) == EVENTS
        assert [each["id"] for each in beat["commands"]] == [told.command_id]
        assert await fleet.number("device_diagnostics", device_id=told.device.id) == len(EVENTS)
        assert await fleet.events(told.device.id, "device.low_battery") == 1
        await fleet.works(told.device.token, told.device.id)

    await lossy.everywhere(make, call, check)


async def test_the_first_heartbeat_with_a_fresh_token_may_be_lost(lossy: Losing, fleet: Fleet) -> None:
    """It ends the token before; whether it was heard or not, the device goes on with the new one."""

    async def make() -> Bound:
        device = await fleet.bound()
        path = "/v1/devices/me/token/refresh"
        fresh = await fleet.call("POST", path, device.headers)
        return Bound(device.id, fresh["device_token"], device.end_user_id)

    def call(device: Bound) -> Call:
        return Call("POST", "/v1/devices/me/heartbeat", device.headers, REPORT)

    async def check(device: Bound, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        await fleet.works(device.token, device.id)

    await lossy.everywhere(make, call, check)
