"""What a service keeps of a recording is deleted there, whatever became of the work; and at no other time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from lapel.cli.doctor.speech_checks import remote_copies
from lapel.slices.providers.choice import SlotChoice, SpeechEngine
from lapel.slices.transcription.copies import copy_queries
from lapel.slices.transcription.copies.remote_copies import RemoteCopies, remember_for
from lapel.slices.transcription.work.lease import claim_next
from tests.support.speech_faults import status
from tests.support.tenants import make_tenant
from tests.transcription.office import Office, office

AGAIN = "UPDATE remote_copies SET available_at = clock_timestamp()"
LEASE = "UPDATE speech_work SET lease = $1, available_at = clock_timestamp() - interval '1 hour'"
OLD = "UPDATE remote_copies SET created_at = clock_timestamp() - interval '31 days', available_at = now()"


@pytest.fixture
async def opened(tmp_path: Path, fresh_database: str) -> AsyncGenerator[Office]:
    """A tenant whose slot `deepgram` is answered by ElevenLabs; nobody works."""
    async with office(tmp_path, fresh_database, worker=False, engine="elevenlabs") as made:
        yield made
    assert made.fake.complaints == []


async def kept(opened: Office, work_id: str, lease: str = "lease") -> str:
    """The service keeps a transcript of a step, and the step has said so; its id."""
    copy, ports, world = opened.fake.next_id("x"), opened.live.ports, opened.tenant.test_world
    async with ports.database.acquire() as connection:
        choice = SlotChoice(slot="deepgram", engine="elevenlabs", base_url=opened.fake.url)
        await copy_queries.insert(connection, world, choice, copy, (work_id, lease), ports.clock.now())
    return copy


async def sweep(opened: Office) -> None:
    """As every worker does every five seconds."""
    await RemoteCopies(opened.live.ports).sweep()


async def left(opened: Office) -> list[tuple[str, str, str | None]]:
    """What `lapel doctor` says."""
    async with opened.live.ports.database.acquire() as connection:
        return [(each.part, each.state, each.detail) async for each in remote_copies(connection)]


ENDINGS: list[tuple[SpeechEngine, Any, str]] = [
    ("elevenlabs", None, "completed"),
    ("assemblyai", {"id": "t-1", "status": "error", "error": "Decoding failed."}, "failed"),
]


@pytest.mark.parametrize(("engine", "answer", "ending"), ENDINGS)
async def test_a_transcript_is_deleted_there_once_its_step_has_ended(
    tmp_path: Path, fresh_database: str, engine: SpeechEngine, answer: Any, ending: str
) -> None:
    """Well or badly."""
    async with office(tmp_path, fresh_database, engine=engine) as opened:
        opened.fake.answer = answer
        _, transcription_id = await opened.transcribe()
        assert (await opened.ended(transcription_id))["status"] == ending
        await sweep(opened)
        await opened.until_nothing_is_kept()  # the worker sweeps, too
        assert len(opened.fake.deleted) == 1
    assert opened.fake.complaints == []


async def test_a_copy_whose_id_cannot_be_stored_is_deleted_at_once(opened: Office) -> None:
    ports = opened.live.ports
    await opened.transcribe()
    claim = await claim_next(ports, "decode")
    assert claim is not None
    nowhere = replace(claim, world_id=-1)  # the database refuses its row
    copy = opened.fake.next_id("x")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await remember_for(ports, nowhere, opened.fake.choice())(copy)
    assert opened.fake.deleted == [copy]
    copy = opened.fake.next_id("x")
    opened.fake.fail(status(500, {}, before_body=True))
    with capture_logs() as logs, pytest.raises(asyncpg.ForeignKeyViolationError):
        await remember_for(ports, nowhere, opened.fake.choice())(copy)
    assert [(each["event"], each["copy"]) for each in logs] == [("speech.copy_given_up", copy)]


async def test_what_a_step_still_uses_is_not_deleted(opened: Office) -> None:
    """Its lease may have run out and be renewed yet; another lease, or none, means another worker."""
    for ended in ("another", None):
        _, work_id = await opened.transcribe()
        await opened.value(LEASE, "lease")
        copy = await kept(opened, work_id)
        await sweep(opened)
        assert copy in opened.fake.kept
        await opened.value(LEASE, ended)
        await sweep(opened)
        assert copy in opened.fake.deleted
    assert await opened.value("SELECT count(*) FROM remote_copies") == 0


async def test_deleting_the_recording_forgets_no_copy(opened: Office) -> None:
    recording_id, work_id = await opened.transcribe()
    await opened.value(LEASE, "lease")
    copy = await kept(opened, work_id)
    await opened.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    await sweep(opened)
    assert opened.fake.deleted == [copy]


async def test_a_deletion_that_fails_is_told_and_tried_again(opened: Office) -> None:
    copy = await kept(opened, "gone")
    opened.fake.fail(status(503, {"detail": "busy"}, before_body=True))
    assert await left(opened) == []
    with capture_logs() as logs:
        await sweep(opened)
    assert [(each["event"], each["copy"]) for each in logs] == [("speech.copy_not_deleted", copy)]
    ((part, state, detail),) = await left(opened)
    assert (part, state) == ("remote copies", "warning")
    assert "1 at elevenlabs" in (detail or "")
    await sweep(opened)  # not yet
    assert len(opened.fake.calls) == 1
    await opened.value(AGAIN)
    await sweep(opened)
    assert opened.fake.deleted == [copy]
    assert await left(opened) == []


async def test_one_that_is_gone_already_is_no_failure(opened: Office) -> None:
    copy = await kept(opened, "gone")
    opened.fake.delete(copy)
    await sweep(opened)
    assert await opened.value("SELECT count(*) FROM remote_copies") == 0
    assert len(opened.fake.complaints) == 1
    opened.fake.complaints.clear()


async def test_a_month_of_failures_is_given_up(opened: Office) -> None:
    await kept(opened, "gone")
    await opened.value(OLD)
    opened.fake.fail(status(401, {"detail": "no"}, before_body=True))
    with capture_logs() as logs:
        await sweep(opened)
    assert [(each["event"], each["log_level"]) for each in logs] == [("speech.copy_given_up", "error")]
    assert await opened.value("SELECT count(*) FROM remote_copies") == 0


async def test_the_key_of_another_world_is_not_used(opened: Office) -> None:
    """Once the slot leads elsewhere nobody can delete it, and the operator is told what to delete by hand."""
    stranger = await make_tenant(opened.live.ports)
    await opened.set_slot("deepgram", "elevenlabs", opened.fake.url, stranger.test_world)
    copy = await kept(opened, "gone")
    await opened.set_slot("deepgram", "deepgram", opened.fake.url)
    await sweep(opened)
    assert opened.fake.calls == []
    ((_, _, detail),) = await left(opened)
    assert f"delete the transcript {copy} in its account" in (detail or "")
    # Another slot of the same world that leads there is as good.
    await opened.set_slot("whisper", "elevenlabs", opened.fake.url)
    await opened.value(AGAIN)
    await sweep(opened)
    assert opened.fake.deleted == [copy]
