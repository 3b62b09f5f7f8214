"""Rate limits over HTTP, on two servers that share one database."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lapel.foundation.core.clock import ManualClock
from lapel.foundation.identity.tokens import new_token
from tests.contract.resources import Resources, populate
from tests.support.client import api_client
from tests.support.running import Running, running
from tests.support.tenants import bearer

LIMITS = {
    "LAPEL_RATE_LIMITS": "on",
    "LAPEL_RATE_PER_SECOND": "0",
    "LAPEL_RATE_PER_MINUTE": "40",
    "LAPEL_UPLOAD_URLS_PER_MINUTE": "4",
    "LAPEL_TRANSCRIPTIONS_PER_MINUTE": "3",
    "LAPEL_DEVICE_PER_MINUTE": "12",
}


@pytest.fixture
async def two(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[tuple[Running, Running, ManualClock]]:
    """Two API processes, and the clock of both."""
    # A busy machine may take its time with the counter, and must not let requests pass here.
    monkeypatch.setattr("lapel.foundation.http.rate_limits.PATIENCE_SECONDS", 60.0)
    # Near the present: the store, which checks links, has the machine's clock.
    clock = ManualClock(datetime.now(UTC).replace(second=0, microsecond=0))
    async with (
        running(tmp_path / "one", fresh_database, clock=clock, **LIMITS) as one,
        running(tmp_path / "two", fresh_database, clock=clock, **LIMITS) as two,
    ):
        yield one, two, clock


async def made(live: Running, clock: ManualClock) -> Resources:
    """One of everything, and a fresh minute."""
    async with api_client(live.url) as client:
        resources = await populate(client, live.ports)
    clock.advance(timedelta(minutes=1))
    return resources


async def test_a_projects_keys_share_a_limit_over_both_processes(
    two: tuple[Running, Running, ManualClock],
) -> None:
    one, other, clock = two
    resources = await made(one, clock)
    statuses: list[int] = []
    async with api_client(one.url) as here, api_client(other.url) as there:
        for number in range(60):
            token = resources.tenant.test_key if number % 3 else resources.other_scoped_key
            answer = await (there if number % 2 else here).get("/v1/devices", headers=bearer(token))
            statuses.append(answer.status_code)
            assert answer.headers["x-ratelimit-limit"] == "40"
            assert answer.headers["x-ratelimit-reset"] == str(int(clock.now().timestamp()) + 60)
        refused = await here.get("/v1/devices", headers=resources.tenant.headers)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert refused.headers["retry-after"] == "60"
        assert refused.headers["x-ratelimit-remaining"] == "0"
        # The other world, and the device, have limits of their own.
        assert (await here.get("/v1/devices", headers=resources.tenant.live_headers)).status_code == 200
        path = f"/v1/recordings/{resources.recordings['plain'].id}/upload-url"
        device = bearer(resources.device.token)
        assert (await here.post(path, json={}, headers=device)).status_code == 200
        # Before the token is known nothing is counted, and what is public has no limit.
        assert (await here.get("/v1/devices")).status_code == 401
        assert "x-ratelimit-limit" not in (await here.get("/health")).headers
        clock.advance(timedelta(minutes=1))
        again = await here.get("/v1/devices", headers=resources.tenant.headers)
        assert (again.status_code, again.headers["x-ratelimit-remaining"]) == (200, "39")
    assert set(statuses) == {200, 429}
    assert 36 <= statuses.count(200) <= 40


async def test_upload_urls_have_a_limit_that_upload_tokens_draw_on(
    two: tuple[Running, Running, ManualClock],
) -> None:
    one, _, clock = two
    resources = await made(one, clock)
    recording = resources.recordings["plain"]
    path = f"/v1/recordings/{recording.id}/upload-url"
    statuses: list[int] = []
    async with api_client(one.url) as client:
        for number in range(8):
            token = recording.token if number % 2 else resources.tenant.test_key
            answer = await client.post(path, json={}, headers=bearer(token))
            statuses.append(answer.status_code)
            assert answer.headers["x-ratelimit-limit"] == "4"
        # Other calls of the project go on.
        assert (await client.get("/v1/recordings", headers=resources.tenant.headers)).status_code == 200
    assert statuses == [200] * 4 + [429] * 4


async def test_transcriptions_have_a_limit_that_both_forms_draw_on(
    two: tuple[Running, Running, ManualClock],
) -> None:
    one, _, clock = two
    resources = await made(one, clock)
    recording = resources.recordings["uploaded"].id
    forms = (
        ("/v1/transcriptions", {"recording_id": recording}),
        (f"/v1/recordings/{recording}/transcribe", {}),
    )
    async with api_client(one.url) as client:
        answers = [
            await client.post(path, json=body, headers=resources.tenant.headers)
            for path, body in forms + forms + forms
        ]
        # The second finds the first one under way, and has been counted.
        assert [each.status_code for each in answers] == [201, 409, 409, 429, 429, 429]
        assert {each.headers["x-ratelimit-limit"] for each in answers} == {"3"}
        assert [each.headers["x-ratelimit-remaining"] for each in answers] == ["2", "1", "0", "0", "0", "0"]
        assert {each.headers["x-ratelimit-reset"] for each in answers} == {
            str(int(clock.now().timestamp()) + 60)
        }
        assert [each.headers.get("retry-after") for each in answers[-3:]] == ["60"] * 3
        # Reading them goes on.
        assert (await client.get("/v1/transcriptions", headers=resources.tenant.headers)).status_code == 200


async def test_every_device_has_a_limit_of_its_own(two: tuple[Running, Running, ManualClock]) -> None:
    one, other, clock = two
    resources = await made(one, clock)
    async with api_client(one.url) as here, api_client(other.url) as there:
        for device in (resources.device, resources.other_device):
            statuses: list[int] = []
            for number in range(20):
                answer = await (here if number % 2 else there).post(
                    "/v1/recordings", json={}, headers=bearer(device.token)
                )
                statuses.append(answer.status_code)
                assert answer.headers["x-ratelimit-limit"] == "12"
            assert 10 <= statuses.count(201) <= 12
        fine = await here.get("/v1/recordings", headers=resources.tenant.headers)
        assert fine.headers["x-ratelimit-remaining"] == "39"


async def test_a_device_that_refreshes_its_token_again_and_again_has_one_limit(
    two: tuple[Running, Running, ManualClock],
) -> None:
    one, other, clock = two
    resources = await made(one, clock)
    token, passed = resources.device.token, 0
    async with api_client(one.url) as here, api_client(other.url) as there:
        for number in range(20):
            client = here if number % 2 else there
            fresh = await client.post("/v1/devices/me/token/refresh", headers=bearer(token))
            token = fresh.json().get("device_token", token)
            beat = await client.post("/v1/devices/me/heartbeat", json={}, headers=bearer(token))
            passed += [fresh.status_code, beat.status_code].count(200)
            assert {fresh.status_code, beat.status_code} <= {200, 429}
    assert 10 <= passed <= 13


async def test_an_earlier_wearers_token_takes_nothing_from_the_device(
    two: tuple[Running, Running, ManualClock],
) -> None:
    one, _, clock = two
    resources = await made(one, clock)
    earlier, keys = bearer(resources.device.token), resources.tenant.headers
    beat, path = "/v1/devices/me/heartbeat", f"/v1/devices/{resources.device.id}"
    async with api_client(one.url) as client:
        assert (await client.post(beat, json={}, headers=earlier)).status_code == 200
        await client.post(f"{path}/unbind", json={}, headers=keys)
        wearer = {"end_user_id": resources.other_end_user.id}
        bound = await client.post(f"{path}/bind", json=wearer, headers=keys)
        for _ in range(14):
            answer = await client.post(beat, json={}, headers=earlier)
            assert answer.status_code == 401
        own = await client.post(beat, json={}, headers=bearer(bound.json()["device_token"]))
        # Of twelve, one went to the first heartbeat, one to the token before this process knew it was ended.
        assert (own.status_code, own.headers["x-ratelimit-remaining"]) == (200, "9")


async def test_invented_tokens_make_no_rows_and_lock_nobody_out(
    two: tuple[Running, Running, ManualClock],
) -> None:
    one, _, clock = two
    resources = await made(one, clock)
    count = "SELECT count(*) FROM rate_windows"
    async with api_client(one.url) as client, one.ports.database.acquire() as connection:
        rows = await connection.fetchval(count)
        for token in [new_token("dtok") for _ in range(20)]:
            for path in ("/v1/devices/me/heartbeat", "/v1/recordings") * 3:
                headers = {**bearer(token), "X-Forwarded-For": "203.0.113.7"}  # by a proxy on this machine
                answer = await client.post(path, json={}, headers=headers)
                assert answer.status_code == 401
                assert "x-ratelimit-limit" not in answer.headers
        assert await connection.fetchval(count) == rows
        strangers = one.server.api.strangers
        assert strangers.suspects("203.0.113.7")
        assert not strangers.suspects("127.0.0.1")
        for path in ("/v1/devices/me/heartbeat", "/v1/recordings"):
            headers = {**bearer(resources.device.token), "X-Forwarded-For": "203.0.113.7"}
            good = await client.post(path, json={}, headers=headers)
            assert good.status_code in (200, 201)
        assert (await client.get("/v1/devices", headers=resources.tenant.headers)).status_code == 200


async def test_a_devices_heartbeats_and_other_calls_have_one_limit(
    two: tuple[Running, Running, ManualClock],
) -> None:
    one, _, clock = two
    resources = await made(one, clock)
    device = bearer(resources.device.token)
    async with api_client(one.url) as client:
        for number in range(12):
            path = "/v1/recordings" if number % 2 else "/v1/devices/me/heartbeat"
            answer = await client.post(path, json={}, headers=device)
            assert answer.status_code in (200, 201)
            assert answer.headers["x-ratelimit-remaining"] == str(11 - number)
        for path in ("/v1/recordings", "/v1/devices/me/heartbeat"):
            assert (await client.post(path, json={}, headers=device)).status_code == 429
        # A body that is refused, and a wrong token, are told as ever.
        clock.advance(timedelta(minutes=1))
        wrong = await client.post("/v1/devices/me/heartbeat", json={"flags": 256}, headers=device)
        assert (wrong.status_code, wrong.headers["x-ratelimit-remaining"]) == (400, "11")
