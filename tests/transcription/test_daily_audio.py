"""The hours of audio that a project may have transcribed in a day."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lapel.foundation.errors import RateLimitExceeded
from lapel.foundation.kit import Kit
from lapel.transcription.daily_audio import DailyAudio
from tests.recordings.support import events_of
from tests.support.tenants import Tenant, make_tenant
from tests.transcription.office import Office, office

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = 60_000


async def test_of_many_at_once_as_many_are_let_through_as_the_day_has_room_for(
    kit: Kit, tenant: Tenant
) -> None:
    hours = DailyAudio(1)

    async def take(now: datetime = NOON, minutes: int = 14) -> bool:
        async with kit.database.transaction() as connection:
            return await hours.take(connection, tenant.test_world, minutes * MINUTE, now)

    assert sorted(await asyncio.gather(*(take() for _ in range(8)))) == [False] * 4 + [True] * 4
    assert await take(minutes=4)  # 60 of 60 minutes
    assert not await take(minutes=1)
    assert not await take(NOON + timedelta(hours=11, minutes=59), 1)
    assert not await take(NOON + timedelta(hours=12), 61)  # more than any day has
    assert await take(NOON + timedelta(hours=12), 60)


@pytest.mark.parametrize("hours", [0, 1])
async def test_what_is_let_through_is_counted_also_without_a_limit(
    kit: Kit, tenant: Tenant, hours: int
) -> None:
    async with kit.database.transaction() as connection:
        taken = await DailyAudio(hours).take(connection, tenant.test_world, 90 * MINUTE, NOON)
        counted = await connection.fetchval(
            "SELECT sum(milliseconds) FROM daily_audio WHERE world_id = $1", tenant.test_world
        )
    assert (taken, counted) == ((True, 90 * MINUTE) if hours == 0 else (False, None))


async def test_more_than_a_lowered_limit_leaves_nothing_and_not_less(kit: Kit, tenant: Tenant) -> None:
    async with kit.database.transaction() as connection:
        assert await DailyAudio(4).take(connection, tenant.test_world, 200 * MINUTE, NOON)
        with pytest.raises(RateLimitExceeded) as refused:
            await DailyAudio(1).check(connection, tenant.test_world, None, NOON)
    assert dict(refused.value.headers)["X-RateLimit-Remaining"] == "0"


async def test_a_day_that_is_used_up(tmp_path: Path, fresh_database: str) -> None:
    limit = {"LAPEL_TRANSCRIPTION_HOURS_PER_DAY": "1", "LAPEL_RATE_LIMITS": "on"}
    async with office(tmp_path, fresh_database, settings=limit) as opened:
        world = opened.tenant.test_world
        await spend(opened, world, 3_600_000 - 60_000)
        for _ in range(2):  # 25 seconds each
            _, transcription_id = await opened.transcribe()
            assert (await opened.ended(transcription_id))["status"] == "completed"
        recording_id, transcription_id = await opened.transcribe()
        ended = await opened.ended(transcription_id)
        assert (ended["status"], ended["error"]["code"]) == ("failed", "processing_error")
        midnight = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z")
        assert midnight in ended["error"]["message"]
        kinds = await events_of(opened.live.kit, world, transcription_id)
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

        other = await make_tenant(opened.live.kit)
        await opened.set_slot("deepgram", "deepgram", opened.fake.url, other.test_world)
        neighbour = Office(opened.client, other, other.headers, opened.live, opened.fake)
        _, transcription_id = await neighbour.transcribe()
        assert (await neighbour.ended(transcription_id))["status"] == "completed"

        async with opened.live.kit.database.acquire() as connection:  # a day later
            await connection.execute("UPDATE daily_audio SET day = day - 1")
        made = await opened.post("/v1/transcriptions", 201, asked)
        assert (await opened.ended(made["id"]))["status"] == "completed"


async def spend(opened: Office, world_id: int, milliseconds: int) -> None:
    """As if so much had been transcribed today."""
    async with opened.live.kit.database.acquire() as connection:
        await connection.execute(
            "INSERT INTO daily_audio VALUES ($1, (now() AT TIME ZONE 'UTC')::date, $2)",
            world_id,
            milliseconds,
        )
