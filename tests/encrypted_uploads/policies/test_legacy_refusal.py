"""Where encrypted uploads are required, plain ones are refused; what was accepted before is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from lapel.foundation.ports import Ports
from lapel.slices.configuration.operator.service import OperatorConfiguration
from lapel.slices.recordings.access import Reach
from lapel.slices.recordings.payloads import VerifyUpload
from lapel.slices.recordings.service import Recordings
from tests.configuration.conftest import Fleet, make_fleet
from tests.recordings.support import Device, later
from tests.support.running import Running
from tests.support.tenants import Tenant

AUDIO = b"OggS" + bytes(500)
REQUIRED = {"encrypted_upload_policy": "v2_required"}
PREFERRED = {"encrypted_upload_policy": "v2_preferred"}
CODE = "encrypted_upload_v2_required"


@pytest.fixture
async def fleet(client: httpx.AsyncClient, ports: Ports, tenant: Tenant) -> Fleet:
    """An end user and a device of theirs, in a project of the test's own."""
    return await make_fleet(client, ports, tenant)


@pytest.fixture
def device(client: httpx.AsyncClient, tenant: Tenant) -> Device:
    """Somebody with a secret key of the test world."""
    return Device(client, tenant, tenant.headers)


async def recording_of(fleet: Fleet, device: Device, **facts: Any) -> str:
    """A recording of the fleet's device."""
    return await device.recording(end_user_id=fleet.end_user, **{"device_id": fleet.device, **facts})


async def assert_refused(device: Device, recording: str, **headers: str) -> None:
    """Both calls are refused, with a sentence that says what to do."""
    for path in ("upload-url", "upload-complete"):
        error = (await device.post(f"/v1/recordings/{recording}/{path}", 409, {}, **headers))["error"]
        assert error["code"] == CODE
        assert "session of encrypted upload v2" in error["message"]


@pytest.mark.parametrize("level", ["project", "device"])
async def test_it_is_refused_while_it_is_required(fleet: Fleet, device: Device, level: str) -> None:
    recording = await recording_of(fleet, device)
    upload = await device.start(recording)
    await device.put(upload, AUDIO)
    await fleet.set(level, "upload_security", PREFERRED)
    await device.start(recording)
    await fleet.set(level, "upload_security", REQUIRED)
    await assert_refused(device, recording)
    await assert_refused(device, recording, Authorization=f"Bearer {upload['upload_token']}")
    image = {"type": "image", "content_type": "image/png"}
    error = await device.start(recording, 409, **image)
    assert error["error"]["code"] == CODE
    await fleet.set(level, "upload_security", PREFERRED)
    assert (await device.complete(recording))["status"] == "uploaded"


async def second_device(fleet: Fleet) -> str:
    """Another device of the same end user."""
    made = {"serial_number": "CONF0002", "model": "bota_pin"}
    other = (await fleet.ask("POST", "/v1/devices", made, status=201))["id"]
    await fleet.ask("POST", f"/v1/devices/{other}/bind", {"end_user_id": fleet.end_user})
    return other


async def test_the_policy_of_a_device_does_not_count_for_another_device(fleet: Fleet, device: Device) -> None:
    other = await second_device(fleet)
    await fleet.set("device", "upload_security", REQUIRED)
    await assert_refused(device, await recording_of(fleet, device))
    await device.start(await recording_of(fleet, device, device_id=other))


async def test_the_strictest_device_counts_for_recordings_without_a_device(
    fleet: Fleet, device: Device
) -> None:
    """Otherwise a phone could leave the device out, and upload what the device must encrypt."""
    path = f"/v1/devices/{await second_device(fleet)}/config/upload_security"
    recording = await recording_of(fleet, device, device_id=None)
    await fleet.ask("PATCH", path, PREFERRED)
    await device.start(recording)
    await fleet.set("device", "upload_security", REQUIRED)
    await assert_refused(device, recording)
    await fleet.set("project", "upload_security", PREFERRED)
    await assert_refused(device, recording)
    # Other people have other devices, and an unbound device is nobody's.
    await device.start(await device.recording())
    await fleet.ask("POST", f"/v1/devices/{fleet.device}/unbind")
    await device.start(recording)


@pytest.mark.parametrize("worn", [False, True])
async def test_a_device_of_somebody_else_does_not_avoid_the_policy_of_the_end_users_devices(
    fleet: Fleet, device: Device, worn: bool
) -> None:
    """A key may name any device of its world."""
    made = {"serial_number": "CONF0003", "model": "bota_pin"}
    other = (await fleet.ask("POST", "/v1/devices", made, status=201))["id"]
    if worn:
        person = (await fleet.ask("POST", "/v1/end-users", {}, status=201))["id"]
        await fleet.ask("POST", f"/v1/devices/{other}/bind", {"end_user_id": person})
    recording = await recording_of(fleet, device, device_id=other)
    await device.start(recording)
    await fleet.set("device", "upload_security", REQUIRED)
    await assert_refused(device, recording)
    await fleet.set("device", "upload_security", PREFERRED)
    await device.start(recording)
    # Its own policy counts too.
    await fleet.ask("PATCH", f"/v1/devices/{other}/config/upload_security", REQUIRED)
    await assert_refused(device, recording)


async def test_a_recording_keeps_the_policy_of_its_device_when_somebody_else_wears_it(
    fleet: Fleet, device: Device
) -> None:
    """What the device recorded for its wearer before is uploaded as the device says."""
    other = await second_device(fleet)
    recording = await recording_of(fleet, device, device_id=other)
    await fleet.set("device", "upload_security", REQUIRED)
    await fleet.ask("POST", f"/v1/devices/{other}/unbind")
    person = (await fleet.ask("POST", "/v1/end-users", {}, status=201))["id"]
    await fleet.ask("POST", f"/v1/devices/{other}/bind", {"end_user_id": person})
    await device.start(recording)


async def test_the_policy_of_the_project_counts_for_recordings_without_a_device(
    fleet: Fleet, device: Device, client: httpx.AsyncClient, stranger: Tenant
) -> None:
    await fleet.set("project", "upload_security", REQUIRED)
    await assert_refused(device, await device.recording())
    # Neither the other world nor another project has this policy.
    for tenant, headers in ((fleet.tenant, fleet.tenant.live_headers), (stranger, stranger.headers)):
        elsewhere = Device(client, tenant, headers)
        await elsewhere.start(await elsewhere.recording())


async def test_the_policy_of_the_organization_counts_and_no_device_can_weaken_it(
    fleet: Fleet, device: Device, ports: Ports
) -> None:
    async with ports.database.acquire() as connection:
        organization = await connection.fetchval(
            "SELECT organization_id FROM projects WHERE id = $1", fleet.tenant.project_id
        )
    recording = await recording_of(fleet, device)
    await fleet.set("device", "upload_security", PREFERRED)
    operator = OperatorConfiguration(ports, mode="test", organization_id=organization)
    await operator.patch("upload_security", REQUIRED)
    await assert_refused(device, recording)
    await assert_refused(device, await device.recording())


async def test_a_repeated_request_gets_no_fresh_url(fleet: Fleet, device: Device) -> None:
    path = f"/v1/recordings/{await recording_of(fleet, device)}/upload-url"
    key = {"Idempotency-Key": "once"}
    await device.post(path, 200, {}, **key)
    await fleet.set("device", "upload_security", REQUIRED)
    assert (await device.post(path, 409, {}, **key))["error"]["code"] == CODE
    await fleet.set("device", "upload_security", PREFERRED)
    await device.post(path, 200, {}, **key)


async def test_uploaded_recordings_are_as_before(fleet: Fleet, device: Device) -> None:
    recording = await recording_of(fleet, device)
    await device.put(await device.start(recording), AUDIO)
    await device.complete(recording)
    await fleet.set("project", "upload_security", REQUIRED)
    await device.complete(recording)
    assert (await device.start(recording, 409))["error"]["code"] == "conflict"
    await device.put(await device.start(recording, type="image", content_type="image/png"), b"an image")
    assert len((await device.complete(recording))["media"]) == 2


async def test_what_is_being_verified_is_finished(
    fleet: Fleet, device: Device, ports: Ports, live: Running
) -> None:
    """The client was told to repeat the request, so it is told how it ends."""
    recording = await recording_of(fleet, device)
    await device.put(await device.start(recording), AUDIO)
    hashes_later = later(replace(ports, settings=replace(ports.settings, inline_hash_bytes=1)), timedelta(0))
    hashes_later.before_upload.extend(live.services[Recordings].before_upload)
    at = Reach(fleet.tenant.test_world, recording)
    with pytest.raises(Exception, match="verified in the background"):
        await hashes_later.completion.finish(at, frozenset(await media_of(device, recording)))
    await fleet.set("device", "upload_security", REQUIRED)
    assert (await device.post(f"/v1/recordings/{recording}/upload-complete", 425, {}))["error"]
    await hashes_later.completion.verify(VerifyUpload(at.world_id, at.recording_id))
    assert (await device.complete(recording))["status"] == "uploaded"


async def test_the_reconciler_keeps_what_arrived_before_the_refusal(
    fleet: Fleet, device: Device, live: Running
) -> None:
    """They came with a URL of the time before, and to delete them would protect nobody any more."""
    recording = await recording_of(fleet, device)
    await device.put(await device.start(recording), AUDIO)
    await fleet.set("device", "upload_security", REQUIRED)
    await assert_refused(device, recording)
    media = frozenset(await media_of(device, recording))
    await live.services[Recordings].completion.finish(Reach(fleet.tenant.test_world, recording), media)
    assert (await device.read(recording))["status"] == "uploaded"
    await device.complete(recording)


async def media_of(device: Device, recording: str) -> list[str]:
    """The ids of a recording's media."""
    return [each["id"] for each in (await device.read(recording))["media"]]


async def test_a_deleted_device_leaves_the_policy_of_the_project(
    fleet: Fleet, ports: Ports, device: Device
) -> None:
    await fleet.set("device", "upload_security", REQUIRED)
    recording = await recording_of(fleet, device)
    await assert_refused(device, recording)
    await fleet.ask("POST", f"/v1/devices/{fleet.device}/unbind")
    await fleet.ask("DELETE", f"/v1/devices/{fleet.device}", status=204)
    await device.start(recording)
