"""What a project may have of the database: measured, and refused beyond a setting."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lapel.foundation.database import row_quota
from lapel.foundation.database.row_quota import measure
from tests.contract.resources import call, populate
from tests.support.client import api_client
from tests.support.declared import declared_operations
from tests.support.matrix import usual_caller
from tests.support.running import Running, running
from tests.support.tenants import Tenant, bearer, make_tenant

# Tables with a world that are not measured, and why.
NOT_GROWN = {
    "ask_answers": "a few of a world, while answers are made",
    "audit_chain": "a short row for each of the audit log, which is measured",
    "audit_checkpoints": "one for many rows of the audit log",
    "audit_unchained": "emptied each minute",
    "daily_audio": "one of a world and day, without text",
    "device_tokens": "three of a device at most, without text",
    "end_user_tokens": "one of an end user, without text",
    "event_positions": "one of a world",
    "full_worlds": "what was measured",
    "language_reservations": "one of a running call, without text",
    "language_usage": "one of a world and day, without text",
    "local_copies": "where workers have an audio just now",
    "provider_slots": "the operator's",
    "remote_copies": "what is to be deleted elsewhere, for a while",
    "search_turns": "one of a world",
    "speech_turns": "one of a world",
    "speech_work": "one of an audio, while it is worked on",
    "summary_parts": "of summaries that are being made",
    "summary_turns": "one of a world",
    "summary_work": "one of a summary, while it is worked on",
    "upload_policies": "one of a device, without text",
}
WITH_A_WORLD = """
SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND c.relnamespace = 'public'::regnamespace AND a.attname = 'world_id'
"""
FILL = """
INSERT INTO end_users (world_id, id, metadata, created_at, updated_at)
SELECT $1, 'eu_' || n, jsonb_build_object('a', repeat(md5(n::text), 60)), now(), now()
FROM generate_series(1, 2000) n
"""


@pytest.fixture
async def bounded(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[tuple[Running, httpx.AsyncClient]]:
    """A server that allows 200 kB of rows a world, and looks at once whether they are there."""
    monkeypatch.setattr(row_quota, "_BELIEVED_FOR_SECONDS", -1.0)
    async with (
        running(tmp_path, fresh_database, LAPEL_ROWS_BYTES_PER_WORLD="200000") as live,
        api_client(live.url) as client,
    ):
        yield live, client


def grown(live: Running) -> list[str]:
    """The tables that are measured."""
    return [table.name for table in live.services.tables if table.grows]


async def measured(live: Running) -> dict[int, int]:
    """The full worlds, found anew."""
    return await measure(live.ports.database, live.ports.clock, live.ports.settings.rows_limit, grown(live))


async def fill(client: httpx.AsyncClient, tenant: Tenant, rows: int) -> None:
    """End users with as much metadata as one may have."""
    for _ in range(rows):
        body = {"metadata": {"a": secrets.token_hex(8000)}}
        answer = await client.post("/v1/end-users", json=body, headers=tenant.headers)
        assert answer.status_code == 201, answer.text


async def test_every_table_that_clients_lengthen_is_measured(bounded: tuple[Running, Any]) -> None:
    live, _ = bounded
    async with live.ports.database.acquire() as connection:
        found = {row[0] for row in await connection.fetch(WITH_A_WORLD)}
    assert set(grown(live)) == found - NOT_GROWN.keys()


async def test_a_full_world_takes_nothing_new_until_there_is_room(
    bounded: tuple[Running, httpx.AsyncClient],
) -> None:
    live, client = bounded
    tenant = await make_tenant(live.ports)
    await fill(client, tenant, 5)
    assert await measured(live) == {}
    await fill(client, tenant, 20)  # until they are measured, they are not known
    (found,) = (await measured(live)).items()
    assert found[0] == tenant.test_world
    assert 16_000 * 25 < found[1] < 16_000 * 40
    refused = await client.post("/v1/end-users", headers=tenant.headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    message = refused.json()["error"]["message"]
    assert str(found[1]) in message
    assert "200000" in message
    assert "retry-after" in refused.headers
    # The other world, and other projects, have room of their own.
    other = await make_tenant(live.ports)
    for headers in (tenant.live_headers, other.headers):
        assert (await client.post("/v1/end-users", headers=headers)).status_code == 201
    listed = await client.get("/v1/end-users?limit=100", headers=tenant.headers)
    for each in listed.json()["data"]:
        gone = await client.delete(f"/v1/end-users/{each['id']}", headers=tenant.headers)
        assert gone.status_code == 204
    assert await measured(live) == {}
    assert (await client.post("/v1/end-users", headers=tenant.headers)).status_code == 201


async def test_what_creates_or_changes_is_refused_and_the_rest_goes_on(
    bounded: tuple[Running, httpx.AsyncClient],
) -> None:
    live, client = bounded
    resources = await populate(client, live.ports)
    async with live.ports.database.acquire() as connection:
        await connection.execute(
            "INSERT INTO full_worlds SELECT id, 300000, now() FROM worlds WHERE project_id = $1",
            resources.tenant.project_id,
        )
    refused: set[str] = set()
    operations = [each for each in declared_operations() if not each.access.public]
    for operation in sorted(operations, key=lambda each: each.method == "DELETE"):
        request = call(operation, resources)
        token = resources.token(usual_caller(operation), operation)
        answer = await client.request(request.method, request.path, json=request.body, headers=bearer(token))
        if answer.status_code == 503 and "rows of this project" in answer.text:
            refused.add(operation.name)
    # Completing, reporting, unbinding, refreshing a token, reading and deleting go on.
    assert refused == {
        each.name
        for each in operations
        if each.files or each.idempotency == "stored" or each.method in ("PUT", "PATCH")
    }


async def test_a_full_world_takes_no_diagnostics_and_says_so(
    bounded: tuple[Running, httpx.AsyncClient],
) -> None:
    live, client = bounded
    tenant = await make_tenant(live.ports)
    device = await client.post("/v1/devices", json={"serial_number": "FULL0001"}, headers=tenant.headers)
    path = f"/v1/devices/{device.json()['id']}/heartbeat"

    async def accepted(number: int) -> list[str]:
        body = {"diagnostics": {"events": [{"event_id": f"{number:016x}"}]}, "battery_percent": number}
        answer = await client.post(path, json=body, headers=tenant.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["accepted_event_ids"]

    assert await accepted(1) == [f"{1:016x}"]
    await fill(client, tenant, 20)
    await measured(live)
    assert await accepted(2) == []
    assert await accepted(1) == [f"{1:016x}"]  # it is stored


async def test_without_a_limit_nothing_is_measured(fresh_database: str, tmp_path: Path) -> None:
    async with running(tmp_path, fresh_database) as live, api_client(live.url) as client:
        tenant = await make_tenant(live.ports)
        await fill(client, tenant, 1)
        async with live.ports.database.acquire() as connection:
            # From when there was a limit.
            await connection.execute("INSERT INTO full_worlds VALUES ($1, 1, now())", tenant.test_world)
        await fill(client, tenant, 1)
        assert await measured(live) == {}


async def test_of_large_tables_a_sample_is_enough(
    bounded: tuple[Running, httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    live, _ = bounded
    tenant = await make_tenant(live.ports)
    async with live.ports.database.acquire() as connection:
        await connection.execute(FILL, tenant.test_world)
        (pages, _) = await connection.fetchrow(row_quota.LAYOUT, "end_users") or (0, "")
    (true,) = (await measured(live)).values()
    monkeypatch.setattr(row_quota, "_PAGES", pages // 2)
    (sampled,) = (await measured(live)).values()
    assert true / 2 < sampled < true * 2


async def test_long_values_are_counted_and_not_read(bounded: tuple[Running, httpx.AsyncClient]) -> None:
    live, client = bounded
    tenant = await make_tenant(live.ports)
    await fill(client, tenant, 30)
    async with live.ports.database.acquire() as connection:
        (pages, size) = await connection.fetchrow(row_quota.LAYOUT, "end_users") or (0, "")
        sql = row_quota.SIZES.format(table="end_users", size=size)
        (row,) = await connection.fetch(sql, 100.0, 0.0)
        asked = sql.replace("$1::real", "100").replace("$2", "0")
        text = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {asked}")
    plan = json.loads(text)[0]["Plan"]
    assert row["bytes"] > 30 * 16_000
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= pages
