"""Download links that were issued before a deletion serve nothing after its answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from lapel.foundation.ports import Ports
from lapel.foundation.storage.client import ObjectStore
from lapel.foundation.storage.errors import StoreUnavailable
from tests.erasure.support import WORDS, entry, everything, rounds
from tests.recordings.support import Device, staging, until_none


async def test_a_link_that_was_issued_before_serves_nothing_after_the_answer(
    device: Device, ports: Ports
) -> None:
    recording_id, media_id = await device.upload(WORDS)
    path = f"/v1/recordings/{recording_id}"
    link = (await device.call("POST", f"{path}/download-url", 200, {"media_id": media_id}))["download_url"]
    assert (await device.client.get(link)).content == WORDS
    await device.call("DELETE", path, 204)
    assert (await device.client.get(link)).status_code == 404
    left = await entry(device, recording_id)
    assert (left["state"], left["objects_erased"]) == ("open", 1)  # the job looks for the others


@pytest.mark.parametrize("hangs", [False, True])
async def test_without_the_store_a_deletion_is_answered_and_the_job_erases(
    device: Device, ports: Ports, hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording_id, _ = await device.upload(WORDS)
    await until_none(ports, staging(device, recording_id))

    async def away(_: ObjectStore, keys: list[str]) -> None:
        if hangs:
            await asyncio.Event().wait()
        raise StoreUnavailable("it is away")

    monkeypatch.setattr("lapel.slices.recordings.deletion.service._SERVED_SECONDS", 0.1)
    with monkeypatch.context() as without:
        without.setattr(ObjectStore, "delete_many", away)
        await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    assert len(await everything(device, ports, recording_id)) == 1
    await rounds(ports, timedelta(minutes=6)).run_due()
    assert (await entry(device, recording_id))["state"] == "erased"
    assert await everything(device, ports, recording_id) == []
