"""The work itself: from an upload to a transcript, through every way in which it can go wrong."""

from __future__ import annotations

import asyncio
import json
import runpy
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database import migrations
from lapel.slices.providers.slots import slot_queries
from lapel.slices.transcription.payloads import Process
from lapel.slices.transcription.service import Transcriptions
from lapel.slices.transcription.speech.failures import TELL
from lapel.slices.transcription.work.lease import claim_next
from tests.recordings.support import events_of
from tests.support.patience import Deadline, patience
from tests.support.postgres import create_database, drop_database
from tests.support.running import working
from tests.support.speech_faults import HANG, status
from tests.support.speech_providers import Fake, serving_fake
from tests.support.tenants import make_tenant
from tests.transcription.audio.signals import encoded, wav
from tests.transcription.office import BEGINNING, SLOW, SPEECH, Office, office

MP4 = encoded("mp4", "aac", 16_000)
WITHOUT_INDEX = MP4[: len(MP4) * 3 // 4]


@pytest.fixture(scope="module")
async def shared(postgres: EmbeddedPostgres, module_folder: Path) -> AsyncGenerator[Office]:
    database = create_database(postgres, "office", "template")
    async with office(module_folder, database) as opened:
        yield opened
    drop_database(postgres, "office")


async def test_a_recording_is_transcribed_and_told_of_once(shared: Office) -> None:
    recording_id, transcription_id = await shared.transcribe(SPEECH)
    done = await shared.ended(transcription_id)
    assert done["status"] == "completed", done
    assert done["full_text"] == "Good morning. Hello there!"
    assert [each["speaker"] for each in done["segments"]] == ["SPEAKER_0", "SPEAKER_1"]
    assert (done["provider"], done["language"], done["progress"]) == ("deepgram", "en", 1.0)
    assert done["started_at"] <= done["completed_at"]
    recording = await shared.read(recording_id)
    assert recording["duration_ms"] == done["duration_ms"] == recording["media"][0]["duration_ms"]
    assert 24_000 < done["duration_ms"] < 26_000
    assert recording["status"] == "uploaded"
    assert await events_of(shared.live.ports, shared.tenant.test_world, transcription_id) == [
        "transcription.started",
        "transcription.completed",
    ]
    waveform = await shared.call("GET", f"/v1/recordings/{recording_id}/waveform?points=100", 200)
    assert waveform["duration_ms"] == done["duration_ms"]
    assert max(waveform["peaks"]) > 0.2
    left = "SELECT count(*) FROM {} WHERE world_id = $1 AND {} = $2"
    for table, column in (("speech_work", "id"), ("transcription_pieces", "transcription_id")):
        sql = left.format(table, column)
        assert await shared.value(sql, shared.tenant.test_world, transcription_id) == 0


async def test_events_carry_the_whole_object_without_segments(shared: Office) -> None:
    _, transcription_id = await shared.transcribe()
    await shared.ended(transcription_id)
    async with shared.live.ports.database.acquire() as connection:
        body = await connection.fetchval(
            "SELECT body FROM events WHERE resource_id = $1 ORDER BY id DESC LIMIT 1", transcription_id
        )
    shown = await shared.get(transcription_id)
    del shown["segments"]
    data = json.loads(body)["data"]
    nested = {name: value for name, value in shown.items() if name not in ("text", "full_text")}
    assert data.pop("transcription") == nested
    assert data == shown


async def test_a_newer_one_takes_over_when_it_is_completed(shared: Office) -> None:
    recording_id, first = await shared.transcribe()
    await shared.ended(first)
    body = {"recording_id": recording_id, "provider": "deepgram"}
    second = (await shared.post("/v1/transcriptions", 201, body))["id"]
    assert (await shared.ended(second))["status"] == "completed"
    assert (await shared.read(recording_id))["transcription_id"] == second
    listed = await shared.call("GET", f"/v1/transcriptions?recording_id={recording_id}", 200)
    assert [each["id"] for each in listed["data"]] == [second]
    assert (await shared.get(first))["status"] == "completed"


async def test_without_a_wish_for_it_an_upload_is_only_looked_at(shared: Office) -> None:
    recording_id, _ = await shared.upload(BEGINNING)
    deadline = Deadline(SLOW)
    while (await shared.read(recording_id))["duration_ms"] is None:
        assert not deadline.has_passed()
        await asyncio.sleep(0.05)
    assert (await shared.read(recording_id))["transcription_id"] is None
    await shared.call("GET", f"/v1/recordings/{recording_id}/waveform", 200)


async def test_what_is_measured_counts_more_than_a_wrong_duration_of_a_client(shared: Office) -> None:
    recording_id = await shared.recording()
    upload = await shared.start(recording_id)
    await shared.put(upload, BEGINNING)
    await shared.complete(recording_id, duration_seconds=30)
    made = await shared.post(
        "/v1/transcriptions", 201, {"recording_id": recording_id, "provider": "deepgram"}
    )
    done = await shared.ended(made["id"])
    assert done["duration_ms"] < 6_000
    shown = await shared.read(recording_id)
    assert (shown["duration_ms"], shown["claimed_duration_ms"]) == (done["duration_ms"], 30_000)
    await shared.complete(recording_id, duration_seconds=30)


@pytest.mark.parametrize(
    ("content", "codes"),
    [
        (b"OggS" + bytes(500), ("unsupported_format", "audio_corrupt")),
        (b"The quick brown fox. " * 50, ("unsupported_format",)),
        (SPEECH[:200], ("unsupported_format", "audio_corrupt")),
        (wav(bytes(999 * 32)), ("audio_too_short",)),
        (WITHOUT_INDEX, ("audio_corrupt",)),
    ],
    ids=("no-ogg", "text", "cut", "short", "no-index"),
)
async def test_what_is_no_audio_fails_with_its_code_and_harms_no_upload(
    shared: Office, content: bytes, codes: tuple[str, ...]
) -> None:
    recording_id, transcription_id = await shared.transcribe(content)
    failed = await shared.ended(transcription_id)
    assert failed["status"] == "failed"
    assert failed["error"]["code"] in codes
    assert failed["error"]["message"] == failed["error_message"] != ""
    assert (await shared.read(recording_id))["status"] == "uploaded"
    assert await events_of(shared.live.ports, shared.tenant.test_world, transcription_id) == [
        "transcription.started",
        "transcription.failed",
    ]
    refused = await shared.call("GET", f"/v1/recordings/{recording_id}/waveform", 409)
    assert failed["error"]["code"] in refused["error"]["message"]
    again = await shared.post("/v1/transcriptions", 201, {"recording_id": recording_id})
    assert (await shared.ended(again["id"]))["error"] == failed["error"]


async def test_a_provider_that_refuses_the_key_fails_it_at_once(shared: Office) -> None:
    shared.fake.fail(status(401, {"err_msg": "Invalid credentials."}))
    _, transcription_id = await shared.transcribe()
    failed = await shared.ended(transcription_id)
    assert failed["error"]["code"] == "provider_error"
    assert failed["error"]["message"].endswith(f"answered 401: Invalid credentials. {TELL}")
    assert "lapel " not in failed["error"]["message"]


async def test_a_provider_that_stumbles_is_asked_again(shared: Office) -> None:
    shared.fake.fail(status(503, {"err_msg": "busy"}))
    _, transcription_id = await shared.transcribe()
    assert (await shared.ended(transcription_id))["status"] == "completed"


async def test_deleting_the_recording_cancels_what_is_under_way(shared: Office) -> None:
    shared.fake.fail(HANG)
    before = len(shared.fake.calls)
    recording_id, transcription_id = await shared.transcribe()
    await shared.until_called(before + 1)
    await shared.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    await shared.call("GET", f"/v1/transcriptions/{transcription_id}", 404)
    # The step's place is free again: more than there are places can follow.
    others = await asyncio.gather(*(shared.transcribe() for _ in range(9)))
    for _, other in others:
        assert (await shared.ended(other))["status"] == "completed"
    assert await events_of(shared.live.ports, shared.tenant.test_world, transcription_id) == []


async def test_who_answers_the_slot_may_change_in_mid_work(shared: Office) -> None:
    await shared.set_slot("elevenlabs", "deepgram", "http://127.0.0.1:1")
    recording_id, _ = await shared.upload(BEGINNING)
    body = {"recording_id": recording_id, "provider": "elevenlabs"}
    made = await shared.post("/v1/transcriptions", 201, body)
    async with patience(SLOW):
        while not await shared.value("SELECT failures FROM speech_work WHERE id = $1", made["id"]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await shared.set_slot("elevenlabs", "deepgram", shared.fake.url)
    done = await shared.ended(made["id"])
    assert (done["status"], done["provider"]) == ("completed", "elevenlabs")


# ---- by itself


async def automatic(office_: Office, **fields: object) -> None:
    """Transcribe whatever is uploaded."""
    await office_.call("PATCH", "/v1/config/processing", 200, {"auto_transcription": fields})


async def test_an_upload_is_transcribed_by_itself_when_the_configuration_says_so(shared: Office) -> None:
    await automatic(shared, enabled=True, provider="deepgram")
    try:
        recording_id, _ = await shared.upload(BEGINNING)
        await shared.complete(recording_id)
        found = await shared.until_transcribed(recording_id)
        assert (await shared.ended(found))["provider"] == "deepgram"
        page = await shared.call("GET", f"/v1/transcriptions?recording_id={recording_id}", 200)
        assert len(page["data"]) == 1
        broken, _ = await shared.upload(b"no audio at all " * 20)
        assert (await shared.read(broken))["status"] == "uploaded"
        found = await shared.until_transcribed(broken)
        assert (await shared.ended(found))["status"] == "failed"
        assert (await shared.read(broken))["status"] == "uploaded"
    finally:
        await shared.call("DELETE", "/v1/config/processing", 204)


async def test_the_job_that_follows_an_upload_may_run_twice(shared: Office) -> None:
    await automatic(shared, enabled=True, provider="deepgram")
    try:
        recording_id, media_id = await shared.upload(BEGINNING)
        told = Process(shared.tenant.test_world, recording_id, media_id)
        await asyncio.gather(*(shared.live.services[Transcriptions].process(told) for _ in range(3)))
        page = await shared.call("GET", f"/v1/transcriptions?recording_id={recording_id}", 200)
        assert len(page["data"]) == 1
        assert (await shared.ended(page["data"][0]["id"]))["status"] == "completed"
    finally:
        await shared.call("DELETE", "/v1/config/processing", 204)


async def test_a_probe_that_nobody_has_begun_is_left_to_the_transcription(
    tmp_path: Path, fresh_database: str
) -> None:
    async with office(tmp_path, fresh_database, worker=False) as opened:
        for begun in (False, True):
            recording_id, media_id = await opened.upload(BEGINNING)
            told = Process(opened.tenant.test_world, recording_id, media_id)
            await opened.live.services[Transcriptions].process(told)
            if begun:
                claim = await claim_next(opened.live.ports, "decode")
                assert (claim.id if claim else None) == media_id
            made = await opened.post("/v1/transcriptions", 201, {"recording_id": recording_id})
            waiting = "SELECT array_agg(id ORDER BY id) FROM speech_work WHERE recording_id = $1"
            expected = [media_id, made["id"]] if begun else [made["id"]]
            assert await opened.value(waiting, recording_id) == expected
            await opened.call("DELETE", f"/v1/recordings/{recording_id}", 204)


# ---- workers come and go


async def test_a_worker_that_stops_hands_its_step_on_at_once(tmp_path: Path, fresh_database: str) -> None:
    async with office(tmp_path, fresh_database, worker=False) as opened:
        opened.fake.fail(HANG)
        async with working(opened.live):
            _, transcription_id = await opened.transcribe()
            await opened.until_called()
        assert (await opened.get(transcription_id))["status"] == "processing"
        lease = "SELECT lease IS NULL AND starts = 0 FROM speech_work WHERE id = $1"
        assert await opened.value(lease, transcription_id)
        async with working(opened.live):
            done = await opened.ended(transcription_id)
        assert done["status"] == "completed"
        assert len(opened.fake.calls) == 2
        kinds = await events_of(opened.live.ports, opened.tenant.test_world, transcription_id)
        assert kinds == ["transcription.started", "transcription.completed"]


async def test_slots_of_another_world_are_not_asked(shared: Office) -> None:
    async with shared.live.ports.database.acquire() as connection:
        assert await slot_queries.read(connection, shared.tenant.live_world, "deepgram") is None


@pytest.mark.deep
async def test_a_service_that_never_answers_keeps_neither_other_projects_nor_uploads_waiting(
    tmp_path: Path, fresh_database: str
) -> None:
    async with (
        office(tmp_path, fresh_database) as opened,
        serving_fake(Fake("deepgram", decode=False)) as quick,
    ):
        opened.fake.fail(HANG, times=100)
        for _ in range(9):
            await opened.transcribe()
        await opened.until_called(8)  # of sixteen places
        second = await make_tenant(opened.live.ports)
        await opened.set_slot("deepgram", "deepgram", opened.fake.url, second.test_world)
        hanging = Office(opened.client, second, second.headers, opened.live, opened.fake)
        for _ in range(5):
            await hanging.transcribe()
        await opened.until_called(8 + 4)
        other = await make_tenant(opened.live.ports)
        await opened.set_slot("deepgram", "deepgram", quick.url, other.test_world)
        neighbour = Office(opened.client, other, other.headers, opened.live, quick)
        for _ in range(2):
            _, transcription_id = await neighbour.transcribe()
            assert (await neighbour.ended(transcription_id))["status"] == "completed"
        assert len(opened.fake.calls) == 8 + 4
        recording_id, _ = await opened.upload(BEGINNING)
        deadline = Deadline(SLOW)
        while (await opened.read(recording_id))["duration_ms"] is None:
            assert not deadline.has_passed()
            await asyncio.sleep(0.05)


@pytest.mark.deep
async def test_a_backlog_of_one_project_does_not_keep_another_waiting(
    tmp_path: Path, fresh_database: str
) -> None:
    async with office(tmp_path, fresh_database, worker=False) as opened:
        ports = opened.live.ports
        other = await make_tenant(ports)
        await opened.set_slot("deepgram", "deepgram", opened.fake.url, other.test_world)
        backlog = [(await opened.transcribe())[1] for _ in range(16)]
        late = Office(opened.client, other, other.headers, opened.live, opened.fake)
        _, one = await late.transcribe()
        async with working(opened.live):
            done = await late.ended(one)
            ends = [(await opened.ended(each))["completed_at"] for each in backlog]
    assert done["status"] == "completed"
    # Eight are worked on at once: of those that came before it, no more than a few were quicker.
    assert sum(end < done["completed_at"] for end in ends) <= 8


@pytest.mark.deep
async def test_audio_from_before_there_were_probes_is_looked_at_after_the_migration(
    fresh_database: str, tmp_path: Path
) -> None:
    async with office(tmp_path, fresh_database, worker=False) as opened:
        recording_id, media_id = await opened.upload(BEGINNING)
        async with opened.live.ports.database.acquire() as connection:
            # As the schema before left it: an upload that nobody was told of.
            await connection.execute("DELETE FROM jobs.pgqueuer WHERE entrypoint LIKE 'speech.%'")
            revision = migrations.FOLDER / "versions" / "0008_audio_from_before.py"
            await connection.execute(runpy.run_path(str(revision))["PROBES"])
        assert await opened.value("SELECT stage FROM speech_work WHERE id = $1", media_id) == "probe"
        async with working(opened.live):
            deadline = Deadline(SLOW)
            while (await opened.read(recording_id))["duration_ms"] is None:
                assert not deadline.has_passed()
                await asyncio.sleep(0.1)
        await opened.call("GET", f"/v1/recordings/{recording_id}/waveform", 200)
        assert await opened.value("SELECT count(*) FROM speech_work WHERE id = $1", media_id) == 0
