"""After a restore, what had been erased is erased again: the bucket or a file tells of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lapel import app
from lapel.cli.erase import ledger_files
from lapel.cli.erase.reconciliation import Reconciled, Reconciliation
from lapel.cli.shared.faults import CommandError
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.slices.erasure.outside import hold_lines, ledger_lines
from lapel.slices.erasure.outside.hold_lines import HeldResource
from lapel.slices.erasure.outside.ledger_lines import ErasedResource
from lapel.slices.erasure.payloads import EraseEndUser
from lapel.slices.erasure.service import Erasures
from lapel.slices.projects.revocations.revocation_lines import RevocationLine
from lapel.slices.recordings.service import Recordings
from lapel.slices.retention.service import Retention
from tests.erasure.support import WORDS, entry, erase_released, everything, rounds
from tests.recordings.support import Device, staging, until_none
from tests.support.erasing import delete_rows

# What a database of before the deletion has: the rows, and nothing in the ledger.
KEEP = """
CREATE TABLE kept_end_users AS SELECT * FROM end_users WHERE world_id = $1;
CREATE TABLE kept_recordings AS SELECT * FROM recordings WHERE world_id = $1;
CREATE TABLE kept_media AS SELECT * FROM media WHERE world_id = $1;
"""
RESTORE = """
DELETE FROM erasures WHERE world_id = $1;
DELETE FROM tombstones WHERE world_id = $1;
DELETE FROM events WHERE world_id = $1;
DELETE FROM end_users e USING kept_end_users k WHERE e.world_id = $1 AND e.id = k.id
    AND NOT EXISTS (SELECT FROM recordings r WHERE r.world_id = e.world_id AND r.end_user_id = e.id);
INSERT INTO end_users SELECT * FROM kept_end_users ON CONFLICT DO NOTHING;
INSERT INTO recordings SELECT * FROM kept_recordings ON CONFLICT DO NOTHING;
INSERT INTO media SELECT * FROM kept_media ON CONFLICT DO NOTHING;
DROP TABLE kept_end_users, kept_recordings, kept_media;
"""
# The same for what was deleted and held before the backup: its hidden rows, holds and entries.
_HIDDEN = "end_users", "recordings", "media", "holds", "erasures", "tombstones"
KEEP_HELD = "".join(
    f"CREATE TABLE hidden_{each} AS SELECT * FROM {each} WHERE world_id = $1;" for each in _HIDDEN
)
RESTORE_HELD = "".join(
    [
        *(f"DELETE FROM {each} WHERE world_id = $1;" for each in reversed(_HIDDEN)),
        *(f"INSERT INTO {each} SELECT * FROM hidden_{each}; DROP TABLE hidden_{each};" for each in _HIDDEN),
    ]
)
RESTORE_AUDIO = """
DELETE FROM erasures WHERE world_id = $1;
INSERT INTO media SELECT * FROM kept_media ON CONFLICT DO NOTHING;
UPDATE recordings SET audio_erased_at = NULL WHERE world_id = $1;
DROP TABLE kept_end_users, kept_recordings, kept_media;
"""
LOSE_HOLDS = "DELETE FROM holds WHERE world_id = $1; DELETE FROM recordings WHERE world_id = $1;"
# As a server of an older release does it, which tells the bucket nothing of it.
OLD_RELEASE = """
UPDATE holds SET released_at = now(), released_by_kind = 'key' WHERE world_id = $1 AND released_at IS NULL
"""
LEFT = """
SELECT (SELECT count(*) FROM recordings WHERE world_id = $1)
     + (SELECT count(*) FROM end_users WHERE world_id = $1 AND deleted_at IS NULL)
"""


async def script(ports: Ports, world_id: int, sql: str) -> None:
    """Runs a script in which $1 is the world."""
    async with ports.database.transaction() as connection:
        await connection.execute(sql.replace("$1", str(world_id)))


async def left(ports: Ports, world_id: int) -> int:
    """How many recordings and end users there are."""
    async with ports.database.acquire() as connection:
        return await connection.fetchval(LEFT, world_id)


async def _no_ends() -> AsyncIterator[list[RevocationLine]]:
    """Ends of keys are in tests/projects/test_revocation_ledger.py."""
    yield []


async def reconcile(
    ports: Ports,
    pages: AsyncIterator[list[ErasedResource]],
    *,
    holds: AsyncIterator[list[HeldResource]] | None = None,
    dry_run: bool = False,
) -> tuple[Reconciled, list[str]]:
    """The report of a run, and what it said meanwhile."""
    said: list[str] = []
    reconciliation = Reconciliation(ports, said.append, dry_run=dry_run)
    report = await reconciliation.run(_no_ends(), holds or hold_lines.read(ports.store), pages)
    return report, said


async def test_what_the_bucket_tells_of_is_erased_again(device: Device, ports: Ports, tmp_path: Path) -> None:
    world = device.tenant.test_world
    person, other = await device.end_user(), await device.end_user()
    first, second = [(await device.upload(WORDS, end_user_id=each))[0] for each in (person, other)]
    kept, media_id = await device.upload(WORDS, end_user_id=other)
    await script(ports, world, KEEP)
    await device.call("DELETE", f"/v1/end-users/{person}", 204)
    await device.call("DELETE", f"/v1/recordings/{second}", 204)
    await delete_rows(ports, world, person)
    await rounds(ports, timedelta(minutes=6)).run_due()
    await app.open_services(ports)[Erasures].erase_end_user(EraseEndUser(world, person))
    file = tmp_path / "erased.ndjson"
    assert (await ledger_files.export(ports, file))[0] >= 2
    now = ports.clock.now()
    assert await ledger_lines.tells_between(ports.store, now - timedelta(hours=1), now + timedelta(hours=1))
    later = now + timedelta(hours=1), now + timedelta(hours=2)
    assert not await ledger_lines.tells_between(ports.store, *later)
    await script(ports, world, RESTORE)
    assert await left(ports, world) == 5
    for source in (ledger_lines.read(ports.store), ledger_files.read(file)):
        report, said = await reconcile(ports, source, dry_run=True)
        assert (report.end_users, report.recordings, report.erased) == (1, 1, 0)
        assert said == [f"end user {person} is back", f"recording {second} is back"]
    assert await left(ports, world) == 5

    report, _ = await reconcile(ports, ledger_lines.read(ports.store))
    found = (report.end_users, report.recordings, report.erased, report.held, report.open)
    assert found == (1, 1, 2, 0, 0)
    assert await left(ports, world) == 2
    for recording_id in (first, second):
        await device.call("GET", f"/v1/recordings/{recording_id}", 404)
        assert await everything(device, ports, recording_id) == []
    assert await device.download(kept, media_id) == WORDS
    for resource_id, reason in ((person, "reconcile"), (second, "reconcile"), (first, "end_user_deleted")):
        again = await entry(device, resource_id)
        assert (again["state"], again["reason"]) == ("erased", reason)
        assert again["requested_by"] == {"kind": "operator", "id": None}
    report, said = await reconcile(ports, ledger_lines.read(ports.store))
    assert (report.end_users, report.recordings, said) == (0, 0, [])


async def test_a_hold_of_the_restored_database_keeps_what_is_deleted_again(
    device: Device, ports: Ports
) -> None:
    world = device.tenant.test_world
    recording_id, _ = await device.upload(WORDS)
    await script(ports, world, KEEP)
    await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    await rounds(ports, timedelta(minutes=6)).run_due()
    await script(ports, world, RESTORE)
    await device.post(f"/v1/recordings/{recording_id}/hold", 201, {"reason": "Case 7"})
    report, said = await reconcile(ports, ledger_lines.read(ports.store))
    assert (report.recordings, report.erased, report.held) == (1, 0, 1)
    assert "legal hold" in said[-1]
    assert (await entry(device, recording_id))["state"] == "held"


async def test_what_the_backup_has_hidden_under_a_hold_is_named(
    device: Device, ports: Ports, tmp_path: Path
) -> None:
    """It was deleted and held when the backup was made, and released and erased later."""
    world = device.tenant.test_world
    person, whole = await device.end_user(), await device.end_user()
    theirs = [(await device.upload(WORDS, end_user_id=each))[0] for each in (person, whole)]
    alone, _ = await device.upload(WORDS)
    held = [f"recordings/{alone}", f"recordings/{theirs[0]}", f"end-users/{whole}"]
    for path in held:
        await device.post(f"/v1/{path}/hold", 201, {"reason": "Case 7"})
    for path in (f"recordings/{alone}", f"end-users/{person}", f"end-users/{whole}"):
        await device.call("DELETE", f"/v1/{path}", 204)
    for each in (person, whole):
        await delete_rows(ports, world, each)
    await script(ports, world, KEEP_HELD)
    for path in held:
        await device.call("DELETE", f"/v1/{path}/hold", 204)
    await erase_released(ports)
    await rounds(ports, timedelta(minutes=6)).run_due()
    for each in (person, whole):
        await app.open_services(ports)[Erasures].erase_end_user(EraseEndUser(world, each))
    file = tmp_path / "erased.ndjson"
    await ledger_files.export(ports, file)
    await script(ports, world, RESTORE_HELD)
    await ledger_files.export(ports, file)  # keeps what the earlier one tells

    for dry_run in (True, False, False):
        report, said = await reconcile(ports, ledger_files.read(file), dry_run=dry_run)
        assert (report.end_users, report.recordings, report.held) == (0, 0, 0)
        assert report.hidden == len(said) >= 3  # other tests' worlds may have some
        for resource_id in (person, whole, alone):
            assert sum(resource_id in each and "legal hold" in each for each in said) == 1
    for path in held:
        await device.call("DELETE", f"/v1/{path}/hold", 204)
    await erase_released(ports)
    for each in (person, whole):
        await delete_rows(ports, world, each)
    _, said = await reconcile(ports, ledger_files.read(file))
    assert not [each for each in said if any(gone in each for gone in (person, whole, alone))]
    for resource_id in (alone, *theirs):
        assert await everything(device, ports, resource_id) == []


async def erase_old_audio(device: Device, ports: Ports, by: timedelta) -> None:
    """Retention as it will be after some time, with the erasure of the objects."""
    await device.call("PATCH", "/v1/config/retention", 200, {"audio_days": 1})
    in_time = replace(ports, clock=ManualClock(ports.clock.now() + by))
    await Retention(in_time, app.open_services(in_time)[Recordings]).run()
    await rounds(ports, by + timedelta(minutes=6)).run_due()


async def test_audio_that_retention_erased_is_erased_again(
    device: Device, ports: Ports, tmp_path: Path
) -> None:
    world = device.tenant.test_world
    (recording_id, media_id), (held, held_media) = await device.upload(WORDS), await device.upload(WORDS)
    image = await device.start(recording_id, type="image")
    await device.put(image, b"a picture")
    await device.complete(recording_id)
    await script(ports, world, KEEP)
    await erase_old_audio(device, ports, timedelta(days=2))
    file = tmp_path / "erased.ndjson"
    await ledger_files.export(ports, file)
    await device.call("PATCH", "/v1/config/retention", 200, {"audio_days": None})
    await script(ports, world, RESTORE_AUDIO)
    await device.post(f"/v1/recordings/{held}/hold", 201, {"reason": "Case 7"})
    for source in (ledger_lines.read(ports.store), ledger_files.read(file)):
        report, said = await reconcile(ports, source, dry_run=True)
        assert (report.recordings, report.audio, report.erased) == (0, 2, 0)
        assert f"audio {media_id} of recording {recording_id} is back" in said

    report, said = await reconcile(ports, ledger_files.read(file))
    assert (report.audio, report.erased, report.held, report.open) == (2, 1, 1, 0)
    assert held_media in said[-1]
    shown = await device.read(recording_id)
    assert [each["id"] for each in shown["media"]] == [image["media_id"]]
    assert await device.download(recording_id, image["media_id"]) == b"a picture"
    assert not [each for each in await everything(device, ports, recording_id) if media_id in each]
    again = await entry(device, media_id)
    assert (again["resource_type"], again["state"], again["reason"]) == ("media", "erased", "reconcile")
    assert len((await device.read(held))["media"]) == 1
    await device.call("DELETE", f"/v1/recordings/{held}/hold", 204)
    report, _ = await reconcile(ports, ledger_lines.read(ports.store))
    assert (report.audio, report.erased, report.held) == (1, 1, 0)
    assert (await device.read(held))["media"] == []


async def test_what_a_hold_keeps_is_not_told_of_as_erased(
    device: Device, ports: Ports, tmp_path: Path
) -> None:
    recording_id, _ = await device.upload(WORDS)
    await device.post(f"/v1/recordings/{recording_id}/hold", 201, {"reason": "Case 7"})
    await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    await rounds(ports, timedelta(minutes=6)).run_due()
    await ledger_files.export(ports, tmp_path / "erased.ndjson")
    for source in (ledger_lines.read(ports.store), ledger_files.read(tmp_path / "erased.ndjson")):
        assert recording_id not in [each.resource_id async for page in source for each in page]


@pytest.mark.parametrize("source", ["bucket", "file"])
async def test_a_hold_that_a_restore_lost_is_placed_again_before_anything_is_erased(
    device: Device, ports: Ports, tmp_path: Path, source: str
) -> None:
    """Of a deleted end user only what is held stays: without the hold, all would be erased again."""
    world, file = device.tenant.test_world, tmp_path / "erased.ndjson"
    person, other, released = [await device.end_user() for _ in range(3)]
    gone, kept, theirs = [
        (await device.upload(WORDS, end_user_id=each))[0] for each in (person, person, other)
    ]
    await script(ports, world, KEEP)
    placed = {}
    for path in (f"recordings/{kept}", f"end-users/{other}", f"end-users/{released}"):
        placed[path] = (await device.post(f"/v1/{path}/hold", 201, {"reason": "Case 7"}))["id"]
    await device.call("DELETE", f"/v1/end-users/{released}/hold", 204)
    # The deletion tells of the holds itself: no round has run since.
    await device.call("DELETE", f"/v1/end-users/{person}", 204)
    await delete_rows(ports, world, person)
    await ledger_files.export(ports, file)
    await script(ports, world, LOSE_HOLDS + RESTORE)

    for expected, dry_run in ((2, True), (2, False), (0, False)):
        holds, pages = hold_lines.read(ports.store), ledger_lines.read(ports.store)
        if source == "file":
            holds, pages = ledger_files.read_holds(file), ledger_files.read(file)
        report, said = await reconcile(ports, pages, holds=holds, dry_run=dry_run)
        assert report.holds == expected
        lost = f"the legal hold {placed[f'recordings/{kept}']} on {kept} was lost"
        assert (lost in said) == (expected > 0)
    assert await everything(device, ports, gone) == []
    assert (await entry(device, kept))["state"] == "held"
    await until_none(ports, staging(device, kept))
    assert len(await everything(device, ports, kept)) == 1
    await device.read(theirs)
    listed = (await device.call("GET", "/v1/holds?active=true", 200))["data"]
    assert {each["resource_id"]: each["id"] for each in listed} == {
        kept: placed[f"recordings/{kept}"],
        other: placed[f"end-users/{other}"],
    }
    assert {each["placed_by"]["kind"] for each in listed} == {"operator"}
    assert "the original reason is lost" in listed[0]["reason"]


async def test_a_hold_that_was_released_meanwhile_is_not_placed_again(device: Device, ports: Ports) -> None:
    recording_id, _ = await device.upload(WORDS)
    path = f"/v1/recordings/{recording_id}/hold"
    for _ in range(2):
        await device.post(path, 201, {"reason": "Case 7"})
        await rounds(ports, timedelta(0)).run_due()
        await device.call("DELETE", path, 204)
    await rounds(ports, timedelta(0)).run_due()
    told = [each.resource_id async for page in hold_lines.read(ports.store) for each in page]
    assert recording_id not in told
    await device.post(path, 201, {"reason": "Case 8"})
    await rounds(ports, timedelta(0)).run_due()
    told = [each.resource_id async for page in hold_lines.read(ports.store) for each in page]
    assert told.count(recording_id) == 1


async def test_a_hold_that_an_older_server_released_is_not_placed_again(device: Device, ports: Ports) -> None:
    recording_id, _ = await device.upload(WORDS)
    await device.post(f"/v1/recordings/{recording_id}/hold", 201, {"reason": "Case 7"})
    for told in (True, False):
        await rounds(ports, timedelta(0)).run_due()
        found = [each.resource_id async for page in hold_lines.read(ports.store) for each in page]
        assert (recording_id in found) == told
        await script(ports, device.tenant.test_world, OLD_RELEASE)


async def test_an_end_user_is_told_of_as_soon_as_only_recordings_are_held(
    device: Device, ports: Ports, tmp_path: Path
) -> None:
    person = await device.end_user()
    recording_id = await device.recording(end_user_id=person)
    file = tmp_path / "erased.ndjson"
    for path in (f"recordings/{recording_id}", f"end-users/{person}"):
        await device.post(f"/v1/{path}/hold", 201, {"reason": "Case 7"})
    await device.call("DELETE", f"/v1/end-users/{person}", 204)
    for is_told in (False, True):
        await delete_rows(ports, device.tenant.test_world, person)
        await erase_released(ports)
        await ledger_files.export(ports, file)
        for source in (ledger_lines.read(ports.store), ledger_files.read(file)):
            found = {each.resource_id async for page in source for each in page}
            assert ((person in found), (recording_id in found)) == (is_told, False)
        await device.call("DELETE", f"/v1/end-users/{person}/hold", 204)
    assert (await entry(device, person))["state"] == "held"


@pytest.mark.parametrize(
    "line", [b"{}", b"x", b'{"id": 1}', b"\xff\xfe", b"[" * 9000, b'{"id":"' + b"x" * 9000]
)
async def test_a_line_of_another_kind_is_named(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "other.ndjson"
    file.write_bytes(line + b"\n")
    with pytest.raises(CommandError, match="line 1: this is no line of `lapel erase --export`"):
        [page async for page in ledger_files.read(file)]
