"""Who may write recordings and not read them sees nothing in the answers that they may not read."""

from __future__ import annotations

from typing import Any

from lapel.foundation.ports import Ports
from tests.recordings.support import Device
from tests.support.tenants import bearer, make_key

WRITTEN = {
    "name": "Divorce",
    "metadata": {"court": "7"},
    "started_at": "2026-01-15T12:00:00.000Z",
    "ended_at": "2026-01-15T13:00:00.000Z",
    "recorded_at": "2026-01-15T12:30:00.000Z",
}
HIDDEN = {
    **dict.fromkeys(("name", "started_at", "ended_at", "recorded_at", "transcription_id")),
    "metadata": {},
}


async def writer(ports: Ports, device: Device) -> dict[str, str]:
    return bearer(await make_key(ports, device.tenant.test_world, "rk_test", scopes=("recordings:write",)))


def hidden(recording: dict[str, Any]) -> dict[str, Any]:
    """What a reader sees, without what others may not read."""
    media = [{**each, "captured_at": None} for each in recording["media"]]
    return {**recording, **HIDDEN, "media": media}


async def test_a_key_that_may_not_read_and_an_upload_token_complete_without_reading(
    device: Device, ports: Ports
) -> None:
    recording_id = await device.recording(**WRITTEN)
    upload = await device.start(recording_id, captured_at=WRITTEN["started_at"])
    await device.put(upload, b"audio" * 300)
    path = f"/v1/recordings/{recording_id}/upload-complete"
    by_token = await device.post(path, 200, {}, **bearer(upload["upload_token"]))
    by_key = await device.post(path, 200, {}, **await writer(ports, device))
    seen = await device.read(recording_id)
    assert (seen["name"], seen["media"][0]["captured_at"]) == ("Divorce", WRITTEN["started_at"])
    assert by_token == by_key == hidden(seen)
    assert await device.post(path, 200, {}) == seen


async def test_a_change_shows_only_what_it_wrote(device: Device, ports: Ports) -> None:
    recording_id = await device.recording(**WRITTEN)
    path, own = f"/v1/recordings/{recording_id}", await writer(ports, device)
    assert await device.call("PATCH", path, 200, {}, **own) == hidden(await device.read(recording_id))
    changed = await device.call("PATCH", path, 200, {"name": "Weekly", "metadata": None}, **own)
    assert changed == {**hidden(await device.read(recording_id)), "name": "Weekly"}


async def test_an_announcement_shows_what_it_says_and_a_repeat_nothing_that_others_said(
    device: Device, ports: Ports
) -> None:
    person = await device.end_user()
    made = await device.post("/v1/devices", 201, {"serial_number": "SHORT001"})
    identity = {
        "end_user_id": person,
        "device_id": made["id"],
        "recording_uuid": "2f1c8a52-9f4e-4f0a-8a38-0d5f0a3b7c11",
        "recording_generation": 1,
    }
    own = await writer(ports, device)
    again = {"Idempotency-Key": "short-answer"}
    whole = await device.post("/v1/recordings", 201, {**identity, **WRITTEN}, **again, **own)
    assert {name: whole[name] for name in WRITTEN} == WRITTEN
    assert whole == await device.read(whole["id"])
    assert await device.post("/v1/recordings", 201, {**identity, **WRITTEN}, **again, **own) == whole
    assert await device.post("/v1/recordings", 200, identity, **own) == hidden(whole)
    started = {**identity, "started_at": WRITTEN["started_at"]}
    assert await device.post("/v1/recordings", 200, started, **own) == {
        **hidden(whole),
        "started_at": WRITTEN["started_at"],
    }
    seen = await device.post("/v1/recordings", 200, identity, **{"Idempotency-Key": "of-a-reader"})
    assert seen == whole
    stored = await device.post("/v1/recordings", 200, identity, **{"Idempotency-Key": "of-a-reader"}, **own)
    assert stored == hidden(whole)
