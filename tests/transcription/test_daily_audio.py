"""The hours of audio that a project may have transcribed in a day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lapel.foundation.core.errors import RateLimitExceeded
from lapel.foundation.ports import Ports
from lapel.slices.erasure.service import LocalCopies
from lapel.slices.recordings.service import Audio
from lapel.slices.transcription import queries
from lapel.slices.transcription.audio.audio_facts import AudioFacts
from lapel.slices.transcription.audio.decoder import Decoder
from lapel.slices.transcription.models.process.engine_client import Engine
from lapel.slices.transcription.providers.protocol import Transcriber, Wish
from lapel.slices.transcription.requests.daily_audio import DailyAudio
from lapel.slices.transcription.speech.assembly import Piece
from lapel.slices.transcription.speech.failures import Code, SpeechError, TryAgain
from lapel.slices.transcription.speech.messages import Heard
from lapel.slices.transcription.work import lifecycle
from lapel.slices.transcription.work.runner import Runner
from lapel.slices.transcription.work.scratch import Scratch
from lapel.slices.transcription.work.tools import WorkerStages
from tests.recordings.support import Device, events_of
from tests.support.speech_faults import status
from tests.support.spoken import FACTS
from tests.support.tenants import Tenant, make_tenant
from tests.transcription.office import Office, office

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = 60_000


async def test_of_many_at_once_as_many_are_let_through_as_the_day_has_room_for(
    ports: Ports, tenant: Tenant
) -> None:
    hours = DailyAudio(1)

    async def take(now: datetime = NOON, minutes: int = 14) -> bool:
        async with ports.database.transaction() as connection:
            return await hours.take(connection, tenant.test_world, minutes * MINUTE, now)

    assert sorted(await asyncio.gather(*(take() for _ in range(8)))) == [False] * 4 + [True] * 4
    assert await take(minutes=4)  # 60 of 60 minutes
    assert not await take(minutes=1)
    assert not await take(NOON + timedelta(hours=11, minutes=59), 1)
    assert not await take(NOON + timedelta(hours=12), 61)  # more than any day has
    assert await take(NOON + timedelta(hours=12), 60)


@pytest.mark.parametrize("hours", [0, 1])
async def test_what_is_let_through_is_counted_also_without_a_limit(
    ports: Ports, tenant: Tenant, hours: int
) -> None:
    async with ports.database.transaction() as connection:
        taken = await DailyAudio(hours).take(connection, tenant.test_world, 90 * MINUTE, NOON)
        counted = await connection.fetchval(
            "SELECT sum(milliseconds) FROM daily_audio WHERE world_id = $1", tenant.test_world
        )
    assert (taken, counted) == ((True, 90 * MINUTE) if hours == 0 else (False, None))


async def test_more_than_a_lowered_limit_leaves_nothing_and_not_less(ports: Ports, tenant: Tenant) -> None:
    async with ports.database.transaction() as connection:
        assert await DailyAudio(4).take(connection, tenant.test_world, 200 * MINUTE, NOON)
        with pytest.raises(RateLimitExceeded) as refused:
            await DailyAudio(1).check(connection, tenant.test_world, None, NOON)
    assert dict(refused.value.headers)["X-RateLimit-Remaining"] == "0"


@pytest.mark.deep
async def test_a_day_that_is_used_up(tmp_path: Path, fresh_database: str) -> None:
    limit = {"LAPEL_TRANSCRIPTION_HOURS_PER_DAY": "1", "LAPEL_RATE_LIMITS": "on"}
    async with office(tmp_path, fresh_database, settings=limit) as opened:
        world = opened.tenant.test_world
        await spend(opened, world, 3_600_000 - 12_000)
        for _ in range(2):  # 5 seconds each
            _, transcription_id = await opened.transcribe()
            assert (await opened.ended(transcription_id))["status"] == "completed"
        recording_id, transcription_id = await opened.transcribe()
        ended = await opened.ended(transcription_id)
        assert (ended["status"], ended["error"]["code"]) == ("failed", "processing_error")
        midnight = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z")
        assert midnight in ended["error"]["message"]
        kinds = await events_of(opened.live.ports, world, transcription_id)
        assert kinds == ["transcription.started", "transcription.failed"]
        assert len(opened.fake.calls) == 2
        # The audio is no worse for it.
        await opened.call("GET", f"/v1/recordings/{recording_id}/waveform?points=100", 200)

        asked = {"recording_id": recording_id, "provider": "deepgram"}
        answer = await opened.client.post("/v1/transcriptions", json=asked, headers=opened.headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 0 < int(answer.headers["Retry-After"]) <= 86_400
        limits = {
            name: answer.headers.get_list(name) for name in ("X-RateLimit-Limit", "X-RateLimit-Remaining")
        }
        assert limits == {"X-RateLimit-Limit": ["1"], "X-RateLimit-Remaining": ["0"]}

        other = await make_tenant(opened.live.ports)
        await opened.set_slot("deepgram", "deepgram", opened.fake.url, other.test_world)
        neighbour = Office(opened.client, other, other.headers, opened.live, opened.fake)
        _, transcription_id = await neighbour.transcribe()
        assert (await neighbour.ended(transcription_id))["status"] == "completed"

        async with opened.live.ports.database.acquire() as connection:  # a day later
            await connection.execute("UPDATE daily_audio SET day = day - 1")
        made = await opened.post("/v1/transcriptions", 201, asked)
        assert (await opened.ended(made["id"]))["status"] == "completed"


SPENT = "SELECT coalesce(sum(milliseconds), 0)::bigint FROM daily_audio WHERE world_id = $1"
A_DAY_AGO = """
WITH moved AS (UPDATE daily_audio SET day = day - 1 WHERE world_id = $1)
UPDATE speech_work SET counted_on = counted_on - 1 WHERE world_id = $1
"""


class Failing(WorkerStages):
    """Whatever is looked at is FACTS, and cannot be transcribed."""

    fault: ClassVar[Exception]

    async def probe(self, audio: Audio, *, keep_samples: bool) -> AudioFacts:  # noqa: ARG002
        return FACTS

    async def transcribe(
        self,
        audio: Audio,  # noqa: ARG002
        piece: Piece,  # noqa: ARG002
        transcriber: Transcriber,  # noqa: ARG002
        wish: Wish,  # noqa: ARG002
        report: Callable[[float], None],  # noqa: ARG002
    ) -> Heard:
        raise self.fault


class Day:
    """A transcription whose audio was counted, and the worker that fails at it."""

    def __init__(self, ports: Ports, world_id: int, transcription_id: str, runner: Runner) -> None:
        self.ports = ports
        self.world_id = world_id
        self.transcription_id = transcription_id
        self.runner = runner

    async def sql(self, statement: str, *given: object) -> Any:
        """One value; the first argument is the world."""
        async with self.ports.database.acquire() as connection:
            return await connection.fetchval(statement, self.world_id, *given)

    async def fail(self, fault: Exception) -> int:
        """Let the step end so; the milliseconds that are counted then."""
        Failing.fault = fault
        assert await self.runner.run("inference") is not None
        status = "SELECT status FROM transcriptions WHERE world_id = $1 AND id = $2"
        assert await self.sql(status, self.transcription_id) == "failed"
        return await self.sql(SPENT)


@pytest.fixture
async def day(device: Device, ports: Ports, tmp_path: Path) -> AsyncGenerator[Day]:
    async with ports.database.acquire() as connection:  # other tests leave work, which would come before ours
        await connection.execute("DELETE FROM speech_work")
    scratch = Scratch(tmp_path / "scratch", ports.store, ports.database, LocalCopies(ports.database))
    runner = Runner(ports, Failing(decoder=Decoder(), engine=Engine(ports.settings), scratch=scratch))
    recording_id, _ = await device.upload(b"OggS" + bytes(200))
    made = await device.post("/v1/transcriptions", 201, {"recording_id": recording_id})
    opened = Day(ports, device.tenant.test_world, made["id"], runner)
    assert await runner.run("decode") is not None
    assert await opened.sql(SPENT) == FACTS.duration_ms
    yield opened
    await runner.stop()


@pytest.mark.parametrize(
    ("code", "left"),
    [
        ("provider_error", 0),
        ("processing_error", 0),
        ("audio_too_short", FACTS.duration_ms),
        ("audio_corrupt", FACTS.duration_ms),
        ("unsupported_format", FACTS.duration_ms),
    ],
)
async def test_what_was_not_transcribed_is_given_back_unless_the_audio_is_at_fault(
    day: Day, code: Code, left: int
) -> None:
    assert await day.fail(SpeechError(code, "It failed.")) == left


async def test_hours_are_given_back_when_all_tries_are_used_up_and_not_before(day: Day) -> None:
    Failing.fault = TryAgain("provider_error", "It is away.")
    await day.runner.run("inference")
    assert await day.sql(SPENT) == FACTS.duration_ms
    soon = "UPDATE speech_work SET failures = 7, available_at = now() WHERE world_id = $1"
    await day.sql(soon)
    assert await day.fail(Failing.fault) == 0


async def test_hours_are_given_back_once(day: Day) -> None:
    async with day.ports.database.transaction() as connection:  # another transcription's
        assert await DailyAudio(0).take(connection, day.world_id, MINUTE, day.ports.clock.now())

    async def fail() -> None:
        async with day.ports.database.transaction() as connection:
            await lifecycle.fail(
                connection, day.ports, day.world_id, day.transcription_id, "provider_error", "It is away."
            )

    await asyncio.gather(*(fail() for _ in range(4)))
    assert await day.sql(SPENT) == MINUTE


async def test_hours_of_yesterday_are_not_given_back(day: Day) -> None:
    await day.sql(A_DAY_AGO)
    assert await day.fail(SpeechError("provider_error", "It is away.")) == FACTS.duration_ms


async def test_hours_of_what_was_transcribed_in_part_are_not_given_back(day: Day) -> None:
    async with day.ports.database.transaction() as connection:
        at = (day.world_id, day.transcription_id)
        await queries.put_piece(connection, *at, "transcribe", 0, b"{}")
    assert await day.fail(SpeechError("provider_error", "It is away.")) == FACTS.duration_ms


async def test_hours_of_an_audio_that_kills_workers_are_not_given_back(day: Day) -> None:
    await day.sql("UPDATE speech_work SET charges = array_fill('a'::text, ARRAY[20]) WHERE world_id = $1")
    assert await day.fail(AssertionError("it is not begun")) == FACTS.duration_ms


async def test_a_service_that_refuses_costs_no_hours(tmp_path: Path, fresh_database: str) -> None:
    async with office(tmp_path, fresh_database) as opened:
        opened.fake.fail(status(401, {"err_msg": "Invalid credentials."}))
        _, transcription_id = await opened.transcribe()
        assert (await opened.ended(transcription_id))["error"]["code"] == "provider_error"
        assert await opened.value(SPENT, opened.tenant.test_world) == 0


async def spend(opened: Office, world_id: int, milliseconds: int) -> None:
    """As if so much had been transcribed today."""
    async with opened.live.ports.database.acquire() as connection:
        await connection.execute(
            "INSERT INTO daily_audio VALUES ($1, (now() AT TIME ZONE 'UTC')::date, $2)",
            world_id,
            milliseconds,
        )
