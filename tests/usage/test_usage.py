"""The usage of a project: what is there counts, in its world, until it is deleted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.slices.usage import queries
from lapel.slices.usage.service import UsageMeter
from tests.recordings.support import Device
from tests.support.plans import filled, indexes_of, steps_of
from tests.support.tenants import Tenant, bearer, make_key

NOTHING = {"end_users": 0, "devices": 0, "recordings": 0, "media_bytes": 0}
COUNT_AUDIO = "INSERT INTO daily_audio (world_id, day, milliseconds) VALUES ($1, $2, $3)"
# 100 worlds with 50 of everything each, and one in ten of their end users is being deleted.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects SELECT 'proj_' || n, 'org_1', 'x', now() FROM generate_series(1, 100) n;
INSERT INTO worlds (project_id, mode) SELECT id, 'live' FROM projects;
INSERT INTO daily_audio (world_id, day, milliseconds)
    SELECT w.id, current_date - n, 1 FROM worlds w, generate_series(1, 30) n;
INSERT INTO language_usage (world_id, day)
    SELECT w.id, current_date - n FROM worlds w, generate_series(1, 30) n;
INSERT INTO end_users (world_id, id, created_at, updated_at)
    SELECT w.id, 'eu_' || n, now(), now() FROM worlds w, generate_series(1, 50) n;
INSERT INTO devices (world_id, id, serial_number, model, created_at, updated_at)
    SELECT w.id, 'dev_' || n, 's' || n, 'x', now(), now() FROM worlds w, generate_series(1, 50) n;
INSERT INTO recordings (world_id, id, end_user_id, status, source, consent_obtained, created_at, updated_at)
    SELECT world_id, replace(id, 'eu', 'rec'), id, 'uploaded', 'device', false, now(), now() FROM end_users;
INSERT INTO media (world_id, id, recording_id, type, status, content_type, file_size_bytes, created_at,
        last_url_expires_at, reconcile_at)
    SELECT world_id, replace(id, 'rec', 'med'), id, 'audio', 'uploaded', 'audio/opus', 1, now(), now(), now()
    FROM recordings;
INSERT INTO erasures (world_id, id, resource_type, resource_id, prefixes, links_expire_at, state, created_at,
        entered, due_at)
    SELECT world_id, id || world_id, 'end_user', id, '{}', now(), 'open', now(), id NOT LIKE '%0', now()
    FROM end_users;
"""
TODAY = datetime(2026, 3, 1, tzinfo=UTC)
HOUR_MS = 3_600_000


def stored(usage: dict[str, Any]) -> dict[str, int]:
    """The figures of what is stored."""
    return {name: usage[name] for name in NOTHING}


async def test_it_counts_what_is_there_in_its_world(
    client: httpx.AsyncClient, tenant: Tenant, stranger: Tenant
) -> None:
    device = Device(client, tenant, tenant.headers)
    assert stored(await device.call("GET", "/v1/usage", 200)) == NOTHING
    first = await device.end_user()
    second = await device.end_user()
    recording_id, _ = await device.upload(b"x" * 1000, end_user_id=first)
    await device.upload(b"y" * 30, end_user_id=second)
    await device.start(await device.recording(end_user_id=second))  # nothing is uploaded there
    ids = [(await device.post("/v1/devices", 201, {"serial_number": f"USE000{n}"}))["id"] for n in range(3)]
    usage = await device.call("GET", "/v1/usage", 200)
    assert usage["project_id"] == tenant.project_id
    assert stored(usage) == {"end_users": 2, "devices": 3, "recordings": 3, "media_bytes": 1030}

    await device.call("DELETE", f"/v1/devices/{ids[0]}", 204)
    await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    usage = await device.call("GET", "/v1/usage", 200)
    assert stored(usage) == {"end_users": 2, "devices": 2, "recordings": 2, "media_bytes": 30}
    for key in (tenant.live_key, stranger.test_key):
        answer = await client.get("/v1/usage", headers=bearer(key))
        assert stored(answer.json()) == NOTHING


async def test_audio_is_counted_by_the_day_against_its_limit(ports: Ports, tenant: Tenant) -> None:
    actor = Actor(
        kind="key", id="key_x", world_id=tenant.test_world, project_id=tenant.project_id, mode="test"
    )
    async with ports.database.acquire() as connection:
        await connection.execute(COUNT_AUDIO, tenant.test_world, TODAY.date(), 90_000)
        await connection.execute(COUNT_AUDIO, tenant.test_world, TODAY.date() - timedelta(days=1), 7)
    for hours, limit in ((2, 2 * HOUR_MS), (0, None)):
        settings = replace(ports.settings, transcription_hours_per_day=hours)
        for clock, counted in ((TODAY + timedelta(hours=23), 90_000), (TODAY + timedelta(days=1), 0)):
            usage = await UsageMeter(replace(ports, clock=ManualClock(clock), settings=settings)).read(actor)
            today = usage.transcribed_today
            assert (today.duration_ms, today.limit_ms) == (counted, limit)
            midnight = "2026-03-02" if counted else "2026-03-03"
            assert today.resets_at == f"{midnight}T00:00:00.000Z"


async def test_it_needs_the_scope_of_the_audit_log(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    for scope, status in (("audit:read", 200), ("recordings:read", 403)):
        key = await make_key(ports, tenant.test_world, "rk_test", scopes=(scope,))
        assert (await client.get("/v1/usage", headers=bearer(key))).status_code == status


async def test_each_figure_is_read_along_an_index(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        assert "media_uploaded" in await indexes_of(connection, queries.USAGE)
        # The rows are not read: a project of a million recordings has 600 MB of them.
        (media,) = [
            step for step in await steps_of(connection, queries.USAGE) if step.get("Relation Name") == "media"
        ]
        assert media["Node Type"] == "Index Only Scan"
