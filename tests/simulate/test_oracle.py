"""The oracle finds every planted breach of a promise, and nothing when there is none."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from itertools import count
from pathlib import Path
from random import Random

import pytest

from lapel.foundation.ports import Ports
from lapel.simulate.client.caller import CallFailed
from lapel.simulate.client.wire import CreatedReply, PageReply
from lapel.simulate.device.device import Activity, SimulatedDevice
from lapel.simulate.journal import Commanding, Entry, Executed, Journal, Promised, Violation
from tests.recordings.support import objects
from tests.simulate.small import Small, small
from tests.support.running import Running
from tests.support.tenants import Tenant

_runs = count(1)
UPDATE_COMMAND = "UPDATE commands SET status = 'cancelled' WHERE world_id = $1 AND status = 'executed'"
COPY_RECORDING = """
INSERT INTO recordings (world_id, id, end_user_id, device_id, status, source, metadata, consent_obtained,
                        recording_uuid, recording_generation, created_at, updated_at)
SELECT world_id, 'rec_copy', end_user_id, device_id, 'pending', source, metadata, consent_obtained,
       recording_uuid, 2, created_at, updated_at
FROM recordings WHERE world_id = $1 AND id = $2
"""


@pytest.fixture
async def lived(live: Running, tenant: Tenant, tmp_path: Path) -> AsyncGenerator[Small]:
    """A device that has two uploads and a command behind it."""
    async with small(live.url, tenant.test_key, tmp_path, f"o{next(_runs)}") as opened:
        await opened.upload()
        await opened.upload()
        while not opened.meter.counts["commands acknowledged"]:
            await opened.do(Activity.COMMAND)
        yield opened


async def kinds(lived: Small) -> set[str]:
    return set((await lived.judge()).broken)


def promises(lived: Small) -> list[Promised]:
    return [entry for entry in lived.journal.read() if isinstance(entry, Promised)]


async def test_a_kept_word_is_found_kept(lived: Small) -> None:
    verdict = await lived.judge()
    assert verdict.findings == []
    assert (verdict.promised, verdict.kept, verdict.lost, verdict.duplicated) == (2, 2, 0, 0)
    assert not lived.meter.errors


async def test_a_lost_recording_is_found(lived: Small) -> None:
    await lived.backend.remove_end_user(0)  # erases what was promised, behind the fleet's back
    verdict = await lived.judge()
    assert (verdict.promised, verdict.kept, verdict.lost) == (2, 0, 2)
    assert {"lost", "binding"} <= set(verdict.broken)


async def test_a_lost_object_is_found(lived: Small, ports: Ports, tenant: Tenant) -> None:
    promise = promises(lived)[0]
    (name,) = await objects(ports, f"media/{tenant.project_id}/{promise.recording_id}/")
    await ports.store.delete(name)
    verdict = await lived.judge()
    assert (verdict.kept, verdict.lost, verdict.broken) == (1, 1, {"lost": 1})


async def test_other_bytes_are_found(lived: Small, ports: Ports, tenant: Tenant) -> None:
    promise = promises(lived)[0]
    (name,) = await objects(ports, f"media/{tenant.project_id}/{promise.recording_id}/")
    await ports.store.put(name, b"x" * promise.size)
    verdict = await lived.judge()
    assert (verdict.kept, verdict.lost) == (1, 1)
    assert "others than were promised" in verdict.findings[0].detail


async def test_a_recording_that_is_there_twice_is_found(lived: Small, ports: Ports, tenant: Tenant) -> None:
    async with ports.database.acquire() as connection:
        await connection.execute(COPY_RECORDING, tenant.test_world, promises(lived)[0].recording_id)
    verdict = await lived.judge()
    assert (verdict.kept, verdict.duplicated, verdict.broken) == (2, 1, {"duplicated": 1})


async def test_a_recording_that_nobody_announced_is_found(lived: Small) -> None:
    body = {"recording_uuid": "6f1c0d3e-0000-4000-8000-00000000dead", "recording_generation": 1}
    await lived.backend.caller.api("test", "POST", "/recordings", lived.device.token, body, expected=(201,))
    assert await kinds(lived) == {"nobody's recording"}


async def test_a_command_that_was_made_twice_is_found(lived: Small) -> None:
    await lived.backend.command(lived.device, "trigger_upload", "behind-its-back")
    assert await kinds(lived) == {"commands duplicated"}
    lived.journal.write(Commanding(0, "behind-its-back"))  # as if the answer had never come
    assert await kinds(lived) == set()


async def test_a_command_that_was_executed_twice_is_found(lived: Small) -> None:
    executed = next(entry for entry in lived.journal.read() if isinstance(entry, Executed))
    lived.journal.write(executed)
    verdict = await lived.judge()
    assert (verdict.commands_twice, verdict.broken) == (1, {"command executed twice": 1})


async def test_a_lost_report_is_found(lived: Small, ports: Ports, tenant: Tenant) -> None:
    async with ports.database.acquire() as connection:
        done = await connection.execute(UPDATE_COMMAND, tenant.test_world)
    assert done != "UPDATE 0"
    assert await kinds(lived) == {"acknowledgement lost"}


async def test_an_update_that_was_offered_twice_is_found(lived: Small) -> None:
    await lived.backend.make_firmware(Random(1))
    await lived.do(Activity.OFFER)
    assert await kinds(lived) == set()
    release = (await lived.backend.caller.api("test", "GET", "/firmware-releases", lived.backend.key)).read(
        PageReply[CreatedReply]
    )
    body = {"firmware_release_id": release.data[0].id}
    path = f"/devices/{lived.device.id}/ota"
    await lived.backend.caller.api("test", "POST", path, lived.backend.key, body, expected=(201,))
    assert await kinds(lived) == {"updates duplicated"}


async def test_a_binding_by_somebody_else_is_found(lived: Small) -> None:
    await lived.backend.unbind(lived.device)
    assert await kinds(lived) == {"binding"}


async def test_a_locked_out_device_is_found_and_goes_on(lived: Small) -> None:
    await lived.backend.unbind(lived.device)
    await lived.do(Activity.RECORD)
    await lived.do(Activity.UPLOAD)  # 401
    await lived.do(Activity.REBIND)
    await lived.upload()
    verdict = await lived.judge()
    assert (verdict.promised, verdict.kept, verdict.broken) == (3, 3, {"locked out": 1})


async def test_an_unbinding_that_nobody_answered_is_no_promise(
    lived: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have happened or not: the device holds on to nothing, and is bound anew before all else."""
    unbind = lived.backend.unbind

    async def unheard(device: SimulatedDevice) -> None:
        await unbind(device)
        raise CallFailed("unbind", None, "no final answer")

    with monkeypatch.context() as deaf:
        deaf.setattr(lived.backend, "unbind", unheard)
        await lived.do(Activity.REBIND)
    assert await kinds(lived) == set()
    await lived.do(Activity.BEAT)
    await lived.do(Activity.BEAT)
    assert lived.device.beats == 1
    assert await kinds(lived) == set()


def test_every_entry_comes_back_as_it_was_written(tmp_path: Path) -> None:
    entries: list[Entry] = [
        Executed(7, "cmd_1"),
        Promised(1, "uuid", "rec_1", "med_1", "ab" * 32, 12),
        Violation(2, "kind", "“detail”\n"),
    ]
    journal = Journal(tmp_path / "journal")
    for entry in entries:
        journal.write(entry)
    assert list(journal.read()) == entries
    journal.close()
    assert list(journal.read()) == entries
