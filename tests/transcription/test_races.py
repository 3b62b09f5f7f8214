"""Two things at once: what a deletion, a stop or another wish meets in the middle of the work."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import ClassVar, TypeVar

import msgspec
import pytest

from lapel import app
from lapel.foundation.ports import Ports
from lapel.slices.erasure.service import LocalCopies
from lapel.slices.providers.choice import SlotChoice
from lapel.slices.providers.slots import slot_queries
from lapel.slices.recordings.service import Audio, audio_of
from lapel.slices.transcription import fact_queries, queries
from lapel.slices.transcription.audio.audio_facts import AudioFacts
from lapel.slices.transcription.audio.decoder import Decoder
from lapel.slices.transcription.models.process.engine_client import Engine
from lapel.slices.transcription.payloads import Lane, Process
from lapel.slices.transcription.providers.protocol import Transcriber, Wish
from lapel.slices.transcription.service import Transcriptions
from lapel.slices.transcription.speech.assembly import Piece
from lapel.slices.transcription.speech.failures import SpeechError
from lapel.slices.transcription.speech.messages import Heard
from lapel.slices.transcription.views import stored_segments
from lapel.slices.transcription.work import lifecycle, work_queries
from lapel.slices.transcription.work.lease import claim_next
from lapel.slices.transcription.work.runner import Runner
from lapel.slices.transcription.work.scratch import Scratch
from lapel.slices.transcription.work.tools import WorkerStages
from tests.recordings.support import Device, events_of
from tests.support.locks import until_waiting
from tests.support.patience import patience
from tests.support.spoken import FACTS, TRANSCRIPT
from tests.support.tenants import make_tenant
from tests.transcription.office import SLOW

SOUND = b"OggS" + bytes(200)
T = TypeVar("T", bound=WorkerStages)


class Looked(WorkerStages):
    """Whatever is looked at is FACTS."""

    async def probe(self, audio: Audio, *, keep_samples: bool) -> AudioFacts:  # noqa: ARG002
        return FACTS


class Silent(Looked):
    """Nobody says anything; `asked` are recordings with what was wished."""

    asked: ClassVar[list[tuple[str, Wish]]] = []

    async def transcribe(
        self,
        audio: Audio,
        piece: Piece,  # noqa: ARG002
        transcriber: Transcriber,  # noqa: ARG002
        wish: Wish,
        report: Callable[[float], None],  # noqa: ARG002
    ) -> Heard:
        self.asked.append((audio.recording_id, wish))
        return Heard(segments=[], speech=[], language=None, language_probability=None, model="m")


class Watched(Runner):
    """Counts how many steps of a lane are taken at once."""

    def watch(self) -> None:
        """From now on."""
        self.now, self.most = Counter[Lane](), Counter[Lane]()

    async def _claim(self, lane: Lane) -> None:
        self.now[lane] += 1
        self.most[lane] = max(self.most[lane], self.now[lane])
        await asyncio.sleep(0.02)
        self.now[lane] -= 1


async def test_a_step_for_the_models_is_taken_when_they_are_free_and_others_at_once(
    ports: Ports, tmp_path: Path
) -> None:
    steps = steps_of(Looked, ports, tmp_path / "scratch")
    watched = Watched(ports, steps)
    watched.watch()
    lanes: list[Lane] = ["inference", "io"]
    await asyncio.gather(*(watched.run(lane) for lane in lanes * 3))
    assert watched.most == {"inference": 1, "io": 3}
    await watched.stop()


def steps_of(kind: type[T], ports: Ports, folder: Path) -> T:
    """Tools of that kind, with a place on the disk."""
    scratch = Scratch(folder, ports.store, ports.database, LocalCopies(ports.database))
    return kind(decoder=Decoder(), engine=Engine(ports.settings), scratch=scratch)


@pytest.fixture
async def runner(ports: Ports, tmp_path: Path) -> AsyncGenerator[Runner]:
    steps = steps_of(Looked, ports, tmp_path / "scratch")
    async with ports.database.acquire() as connection:  # other tests leave work, which would come before ours
        await connection.execute("DELETE FROM speech_work")
    made = Runner(ports, steps)
    yield made
    await made.stop()


async def test_an_event_that_is_written_while_its_recording_is_deleted_goes_with_it(
    device: Device, ports: Ports
) -> None:
    recording_id, _ = await device.upload(SOUND)
    made = await device.post("/v1/transcriptions", 201, {"recording_id": recording_id})
    world_id, transcription_id = device.tenant.test_world, made["id"]
    async with ports.database.acquire() as connection:  # other tests leave work, which would come before ours
        await connection.execute("DELETE FROM speech_work WHERE id <> $1", transcription_id)
    claim = await claim_next(ports, "decode")
    assert claim is not None
    async with ports.database.transaction() as connection:  # as the last step ends
        assert await audio_of(connection, world_id, recording_id, claim.media_id, lock=True) is not None
        assert await work_queries.lock(connection, claim)
        segments = stored_segments(TRANSCRIPT.segments)
        await lifecycle.complete(connection, ports, world_id, transcription_id, TRANSCRIPT, segments)
        published = await connection.fetchval(
            "SELECT count(*) FROM events WHERE resource_id = $1 AND type = 'transcription.completed'",
            made["id"],
        )
        assert published == 1
        deleting = asyncio.create_task(device.call("DELETE", f"/v1/recordings/{recording_id}", 204))
        await until_waiting(ports, 1)
    await deleting
    assert await events_of(ports, world_id, transcription_id) == []


async def awaiting_probe(device: Device, ports: Ports) -> str:
    """An uploaded recording whose audio nobody has looked at yet."""
    recording_id, media_id = await device.upload(SOUND)
    async with ports.database.transaction() as connection:
        await lifecycle.begin_probe(
            connection, device.tenant.test_world, recording_id, media_id, ports.clock.now()
        )
    return recording_id


async def test_a_probe_that_ends_while_its_recording_is_deleted_waits_for_that(
    device: Device, ports: Ports, runner: Runner
) -> None:
    recording_id = await awaiting_probe(device, ports)
    async with ports.database.transaction() as connection:  # as a deletion does
        await connection.execute("SELECT FROM recordings WHERE id = $1 FOR UPDATE", recording_id)
        ending = asyncio.create_task(runner.run("decode"))
        await until_waiting(ports, 1)
        await connection.execute("DELETE FROM recordings WHERE id = $1", recording_id)
    await ending


class Erased(Looked):
    """While it looks at an audio, the end user is erased."""

    async def probe(self, audio: Audio, *, keep_samples: bool) -> AudioFacts:
        await self.device.call("DELETE", f"/v1/end-users/{audio.end_user_id}", 204)
        return await super().probe(audio, keep_samples=keep_samples)

    device: ClassVar[Device]


class Damaged(Looked):
    """Whatever is looked at cannot be read."""

    async def probe(self, audio: Audio, *, keep_samples: bool) -> AudioFacts:  # noqa: ARG002
        raise SpeechError("audio_corrupt", "It is damaged.")


async def test_of_an_audio_that_is_erased_while_it_is_looked_at_nothing_is_written(
    device: Device, ports: Ports, runner: Runner, tmp_path: Path
) -> None:
    world_id, recording_id = device.tenant.test_world, await awaiting_probe(device, ports)
    Erased.device = device
    other = Runner(ports, steps_of(Erased, ports, tmp_path / "other"))
    assert await other.run("decode") is not None
    await other.stop()
    async with ports.database.acquire() as connection:
        assert (
            await connection.fetchval("SELECT duration_ms FROM recordings WHERE id = $1", recording_id)
            is None
        )
        for table in ("audio_facts", "speech_work"):
            rows = f"SELECT count(*) FROM {table} WHERE world_id = $1 AND recording_id = $2"
            assert await connection.fetchval(rows, world_id, recording_id) == 0


async def test_a_probe_that_fails_while_its_recording_is_deleted_waits_for_that(
    device: Device, ports: Ports, runner: Runner, tmp_path: Path
) -> None:
    world_id, recording_id = device.tenant.test_world, await awaiting_probe(device, ports)
    other = Runner(ports, steps_of(Damaged, ports, tmp_path / "other"))
    async with ports.database.transaction() as connection:  # as a deletion does
        await connection.execute("SELECT FROM recordings WHERE id = $1 FOR UPDATE", recording_id)
        failing = asyncio.create_task(other.run("decode"))
        await until_waiting(ports, 1)
        await work_queries.lock_of_recordings(connection, world_id, [recording_id])
        await connection.execute("DELETE FROM recordings WHERE id = $1", recording_id)
    await failing
    await other.stop()


async def test_nobody_waits_for_a_deletion_of_somebody_else(device: Device, ports: Ports) -> None:
    recording_id, _ = await device.upload(SOUND)
    await device.post("/v1/transcriptions", 201, {"recording_id": recording_id})
    tenant = await make_tenant(ports)
    other = Device(device.client, tenant, tenant.headers)
    others, _ = await other.upload(SOUND)
    made = await other.post("/v1/transcriptions", 201, {"recording_id": others})
    taken: set[str] = set()
    async with ports.database.transaction() as connection:
        lane = await connection.fetchval("SELECT lane FROM speech_work WHERE id = $1", made["id"])
        await connection.execute("DELETE FROM recordings WHERE id = $1", recording_id)
        async with patience(SLOW):
            while (claim := await claim_next(ports, lane)) is not None:
                taken.add(claim.id)
    assert made["id"] in taken


async def test_a_step_that_is_taken_while_the_worker_stops_is_put_down_untouched(
    device: Device, ports: Ports, runner: Runner
) -> None:
    recording_id, _ = await device.upload(SOUND)
    made = await device.post("/v1/transcriptions", 201, {"recording_id": recording_id})
    async with ports.database.transaction() as connection:
        await connection.execute(work_queries.ONE_AT_A_TIME, "decode")
        taking = asyncio.create_task(runner.run("decode"))
        await until_waiting(ports, 1)
        await runner.stop()
    await taking
    async with ports.database.acquire() as connection:
        row = await connection.fetchrow(
            "SELECT stage, lease, starts, failures FROM speech_work WHERE id = $1", made["id"]
        )
    assert row is not None
    assert tuple(row) == ("probe", None, 0, 0)


async def test_what_a_client_asked_for_is_not_replaced_by_what_happens_by_itself(
    device: Device, ports: Ports
) -> None:
    await device.call("PATCH", "/v1/config/processing", 200, {"auto_transcription": {"enabled": True}})
    recording_id, media_id = await device.upload(SOUND)
    made = await device.post("/v1/transcriptions", 201, {"recording_id": recording_id, "language": "de"})
    await app.open_services(ports)[Transcriptions].process(
        Process(device.tenant.test_world, recording_id, media_id)
    )
    page = await device.call("GET", f"/v1/transcriptions?recording_id={recording_id}", 200)
    assert [each["id"] for each in page["data"]] == [made["id"]]
    assert (await device.read(recording_id))["transcription_id"] == made["id"]


async def test_a_providers_key_that_cannot_be_read_is_no_fault_of_the_audio(
    device: Device, ports: Ports, runner: Runner
) -> None:
    world_id, now = device.tenant.test_world, ports.clock.now()
    async with ports.database.acquire() as connection:
        await slot_queries.put(
            connection, world_id, SlotChoice(slot="deepgram", engine="deepgram"), b"rust", now
        )
    recording_id, _ = await device.upload(SOUND)
    made = await device.post(
        "/v1/transcriptions", 201, {"recording_id": recording_id, "provider": "deepgram"}
    )
    failed = made
    for _ in range(50):  # others' work may wait there, too
        await runner.run("decode")
        await runner.run("io")
        failed = await device.call("GET", f"/v1/transcriptions/{made['id']}", 200)
        if failed["status"] not in ("pending", "processing"):
            break
    assert (failed["status"], failed["error"]["code"]) == ("failed", "provider_error")
    shown = await device.call("GET", f"/v1/recordings/{recording_id}/waveform", 200)
    assert shown["duration_ms"] == FACTS.duration_ms


async def test_a_requested_language_is_echoed_until_the_job_ends(device: Device, ports: Ports) -> None:
    recording_id, _ = await device.upload(SOUND)
    body = {"recording_id": recording_id, "language": "de-CH"}
    made = await device.post("/v1/transcriptions", 201, body)
    world_id, now = device.tenant.test_world, ports.clock.now()
    async with ports.database.transaction() as connection:
        await queries.begin(connection, world_id, made["id"], now)
        await queries.set_language(connection, world_id, made["id"], "de", 0.9, "whisper-base")
    assert (await device.call("GET", f"/v1/transcriptions/{made['id']}", 200))["language"] == "de-CH"


async def test_a_step_reads_no_more_of_the_others_than_it_needs(
    device: Device, ports: Ports, tmp_path: Path
) -> None:
    """All of a day's pieces in each of its steps would be gigabytes."""
    recording_id, media_id = await device.upload(SOUND)
    made = await device.post(
        "/v1/transcriptions", 201, {"recording_id": recording_id, "languages": ["de", "es"]}
    )
    world_id, now = device.tenant.test_world, ports.clock.now()
    facts = msgspec.structs.replace(FACTS, pieces=[(0, 1000), (1000, 2000), (2000, 4000)])
    clear = Heard(segments=[], speech=[(0, 9)], language="de", language_probability=0.9, model="m")
    async with ports.database.transaction() as connection:
        await fact_queries.put(connection, world_id, recording_id, media_id, facts, "[]", now)
        for piece, kept in enumerate((msgspec.json.encode(clear), b"of no use")):
            await queries.put_piece(connection, world_id, made["id"], "transcribe", piece, kept)
        await connection.execute(
            "UPDATE speech_work SET lane = 'inference', stage = 'transcribe', piece = 2, engine = 'local' "
            "WHERE id = $1",
            made["id"],
        )
    steps = steps_of(Silent, ports, tmp_path / "scratch")
    runner = Runner(ports, steps)
    for _ in range(50):  # others' work may wait there, too
        await runner.run("inference")
        async with ports.database.acquire() as connection:
            if await connection.fetchval("SELECT stage FROM speech_work WHERE id = $1", made["id"]) != (
                "transcribe"
            ):
                break
    wishes = [wish for recording, wish in steps.asked if recording == recording_id]
    assert [(wish.language, wish.languages, wish.likely_language) for wish in wishes] == [
        (None, ("de", "es"), "de")
    ]
    await runner.stop()
