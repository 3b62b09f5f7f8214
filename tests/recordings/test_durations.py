"""A measured duration counts more than a claimed one, and the claim stays beside it."""

from __future__ import annotations

from typing import Any

import pytest

from lapel.foundation.ports import Ports
from lapel.slices.recordings.service import set_examined
from tests.recordings.support import Device

OGG = b"OggS" + bytes(range(256))


async def measure(device: Device, ports: Ports, recording_id: str, media_id: str, milliseconds: int) -> None:
    """What a worker writes that has decoded the audio."""
    async with ports.database.transaction() as connection:
        world_id, now = device.tenant.test_world, ports.clock.now()
        ids = (world_id, recording_id, media_id)
        await set_examined(connection, *ids, milliseconds, now, warnings="[]", damaged=False)


async def uploaded(device: Device, **facts: Any) -> tuple[str, str]:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, OGG)
    await device.complete(recording_id, **facts)
    return recording_id, upload["media_id"]


async def test_a_wrong_claim_is_replaced_by_what_is_measured_and_stays_beside_it(
    device: Device, ports: Ports
) -> None:
    recording_id, media_id = await uploaded(device, duration_seconds=3)
    claimed = await device.read(recording_id)
    assert (claimed["duration_ms"], claimed["claimed_duration_ms"]) == (3000, None)
    for measured in (25_413, 25_413, 90_000):  # a repeat of the work changes nothing
        await measure(device, ports, recording_id, media_id, measured)
        shown = await device.read(recording_id)
        assert (shown["duration_ms"], shown["duration_seconds"]) == (25_413, 25)
        assert shown["claimed_duration_ms"] == 3000
        assert shown["media"][0]["duration_ms"] == 25_413


async def test_a_repeat_of_the_call_agrees_with_the_claim_and_with_what_is_measured(
    device: Device, ports: Ports
) -> None:
    recording_id, media_id = await uploaded(device, duration_seconds=3)
    await measure(device, ports, recording_id, media_id, 25_413)
    for seconds in (3, 3.2, 25.4):
        assert (await device.complete(recording_id, duration_seconds=seconds))["status"] == "uploaded"
    assert (await device.complete(recording_id, 409, duration_seconds=4))["error"]["code"] == "conflict"


@pytest.mark.parametrize("measured", [24_600, 25_000, 25_413, 26_000])
async def test_a_claim_that_is_right_to_a_second_is_final(
    device: Device, ports: Ports, measured: int
) -> None:
    """Clients have seen it: the answer to the completion is final."""
    recording_id, media_id = await uploaded(device, duration_seconds=25)
    before = await device.read(recording_id)
    assert before["damaged"] is None
    await measure(device, ports, recording_id, media_id, measured)
    assert await device.read(recording_id) == before | {"damaged": False}


async def test_without_a_claim_the_measured_duration_counts(device: Device, ports: Ports) -> None:
    recording_id, media_id = await uploaded(device)
    await measure(device, ports, recording_id, media_id, 25_413)
    shown = await device.read(recording_id)
    assert (shown["duration_ms"], shown["claimed_duration_ms"]) == (25_413, None)
