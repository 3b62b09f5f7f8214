"""When a device's recordings arrive: `last_synced_at` and `last_synced_by`."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.support.tenants import Tenant, bearer

SOUND = b"OggS and more"


class Fleet:
    """One bound device, and its recordings."""

    def __init__(self, client: httpx.AsyncClient, tenant: Tenant) -> None:
        self.client = client
        self.tenant = tenant

    async def call(self, method: str, path: str, token: str | None = None, **body: Any) -> Any:
        headers = bearer(token) if token else self.tenant.headers
        answer = await self.client.request(method, f"/v1{path}", json=body, headers=headers)
        assert answer.status_code in (200, 201, 204), answer.text
        return answer.json() if answer.content else None

    async def bound(self, serial: str) -> tuple[str, str]:
        device = await self.call("POST", "/devices", serial_number=serial)
        person = await self.call("POST", "/end-users")
        bound = await self.call("POST", f"/devices/{device['id']}/bind", end_user_id=person["id"])
        return device["id"], bound["device_token"]

    async def send(self, recording_id: str, token: str | None = None, **what: str) -> None:
        asked = await self.call("POST", f"/recordings/{recording_id}/upload-url", token, **what)
        put = await self.client.put(asked["upload_url"], content=SOUND, headers=asked["headers"])
        assert put.status_code == 200

    async def synced(self, device_id: str) -> tuple[str | None, str | None]:
        state = await self.call("GET", f"/devices/{device_id}/state")
        shown = await self.call("GET", f"/devices/{device_id}")
        assert shown["last_synced_at"] == state["last_synced_at"]
        return state["last_synced_at"], state["last_synced_by"]


async def test_a_device_is_synced_when_a_recording_of_it_is_complete(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    fleet = Fleet(client, tenant)
    device, token = await fleet.bound("SYNC0001")
    other, _ = await fleet.bound("SYNC0002")
    recording = await fleet.call("POST", "/recordings", token)
    await fleet.send(recording["id"], token)
    assert await fleet.synced(device) == (None, None)
    done = await fleet.call("POST", f"/recordings/{recording['id']}/upload-complete", token)
    assert await fleet.synced(device) == (done["uploaded_at"], None)
    # Neither a repeat nor a picture that is added later is another sync.
    await fleet.call("POST", f"/recordings/{recording['id']}/upload-complete", token)
    await fleet.send(recording["id"], token, type="image", content_type="image/png")
    await fleet.call("POST", f"/recordings/{recording['id']}/upload-complete", token)
    assert await fleet.synced(device) == (done["uploaded_at"], None)

    body = {"device_id": device, "source": "app_import", "upload_method": "ble"}
    through_app = await fleet.call("POST", "/recordings", **body)
    await fleet.send(through_app["id"])
    later = await fleet.call("POST", f"/recordings/{through_app['id']}/upload-complete")
    assert await fleet.synced(device) == (later["uploaded_at"], "ble")
    assert await fleet.synced(other) == (None, None)


@pytest.mark.parametrize(
    ("method", "connection"),
    [
        ("ble", "ble"), ("wifi_direct", "wifi"), ("wifi", "wifi"), ("4g_direct", "cellular"),
        ("4g", "cellular"), ("cellular", "cellular"), ("import", None), ("unknown", None),
        ("pigeon", None), (None, None),
    ],
)  # fmt: skip
async def test_last_synced_by_is_the_connection_of_that_upload(
    client: httpx.AsyncClient, tenant: Tenant, method: str | None, connection: str | None
) -> None:
    fleet = Fleet(client, tenant)
    device, token = await fleet.bound("SYNC0004")
    for said, word in (("4g_direct", "cellular"), (method, connection)):
        recording = await fleet.call("POST", "/recordings", token, upload_method=said)
        await fleet.send(recording["id"], token)
        await fleet.call("POST", f"/recordings/{recording['id']}/upload-complete", token)
        assert (await fleet.synced(device))[1] == word


async def test_what_is_refused_or_of_no_device_syncs_none(client: httpx.AsyncClient, tenant: Tenant) -> None:
    fleet = Fleet(client, tenant)
    device, token = await fleet.bound("SYNC0003")
    recording = await fleet.call("POST", "/recordings", token)
    await fleet.send(recording["id"], token)
    refused = await client.post(
        f"/v1/recordings/{recording['id']}/upload-complete",
        json={"content_sha256": "0" * 64},
        headers=bearer(token),
    )
    assert refused.status_code == 409
    shown = await fleet.call("GET", f"/devices/{device}")
    own = await fleet.call("POST", "/recordings", end_user_id=shown["end_user_id"])
    await fleet.send(own["id"])
    await fleet.call("POST", f"/recordings/{own['id']}/upload-complete")
    assert await fleet.synced(device) == (None, None)


async def test_a_late_upload_of_an_earlier_wearer_syncs_nothing_of_the_next(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    fleet = Fleet(client, tenant)
    device, token = await fleet.bound("SYNC0005")
    recordings = [(await fleet.call("POST", "/recordings", token))["id"] for _ in range(2)]
    for each in recordings:
        await fleet.send(each, token)
    await fleet.call("POST", f"/devices/{device}/unbind")
    done = await fleet.call("POST", f"/recordings/{recordings[0]}/upload-complete")
    assert await fleet.synced(device) == (done["uploaded_at"], None)  # nobody wears it

    person = await fleet.call("POST", "/end-users")
    await fleet.call("POST", f"/devices/{device}/bind", end_user_id=person["id"])
    late = await fleet.call("POST", f"/recordings/{recordings[1]}/upload-complete")
    assert late["status"] == "uploaded"
    assert await fleet.synced(device) == (done["uploaded_at"], None)
    issued = (await fleet.call("POST", f"/end-users/{person['id']}/token"))["token"]
    assert (await fleet.call("GET", f"/devices/{device}/state", issued))["last_synced_at"] is None


async def test_completions_and_the_deletion_of_their_end_user_wait_for_each_other(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    """Both lock the device before its recordings: none is refused for a deadlock."""
    fleet = Fleet(client, tenant)
    for n in range(6):
        device, token = await fleet.bound(f"SYNC1{n:03}")
        owner = (await fleet.call("GET", f"/devices/{device}"))["end_user_id"]
        recordings = [(await fleet.call("POST", "/recordings", token))["id"] for _ in range(3)]
        for each in recordings:
            await fleet.send(each, token)
        deleted, *completed = await asyncio.gather(
            client.delete(f"/v1/end-users/{owner}", headers=tenant.headers),
            *(
                client.post(f"/v1/recordings/{each}/upload-complete", headers=bearer(token))
                for each in recordings
            ),
        )
        assert deleted.status_code == 204, deleted.text
        assert {answer.status_code for answer in completed} <= {200, 401, 404}
