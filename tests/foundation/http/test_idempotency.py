"""Idempotency keys: one effect, one answer, and nothing left behind by a request that failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.core.errors import IdempotencyKeyReused
from lapel.foundation.http.strategies.idempotency import StoredAnswer, ticket
from lapel.foundation.identity.seal import sealer
from lapel.foundation.ports import Ports
from lapel.slices.projects.scopes import SCOPES
from tests.support.client import api_client
from tests.support.locks import until_waiting
from tests.support.running import running
from tests.support.tenants import Tenant, bearer, make_key, make_tenant


async def create(
    client: httpx.AsyncClient, headers: dict[str, str], key: str | None, body: dict[str, object] | None = None
) -> httpx.Response:
    """Create an end user under this key."""
    sent = headers if key is None else {**headers, "Idempotency-Key": key}
    return await client.post("/v1/end-users", json=body or {"name": "Jane"}, headers=sent)


async def count(client: httpx.AsyncClient, headers: dict[str, str]) -> int:
    """How many end users there are."""
    return len((await client.get("/v1/end-users?limit=100", headers=headers)).json()["data"])


async def test_a_repeat_gets_the_first_answer_and_has_no_effect(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    first = await create(client, tenant.headers, "order-1")
    assert first.status_code == 201
    assert "idempotent-replayed" not in first.headers
    for _ in range(3):
        again = await create(client, tenant.headers, "order-1")
        assert again.status_code == 201
        assert again.content == first.content
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert await count(client, tenant.headers) == 1


async def test_without_a_key_every_request_counts(client: httpx.AsyncClient, tenant: Tenant) -> None:
    for _ in range(2):
        await create(client, tenant.headers, None)
    assert await count(client, tenant.headers) == 2


async def test_another_request_under_the_same_key_is_422(client: httpx.AsyncClient, tenant: Tenant) -> None:
    await create(client, tenant.headers, "order-1")
    headers = {**tenant.headers, "Idempotency-Key": "order-1"}
    for path, body in (
        ("/v1/end-users", {"name": "Joan"}),
        ("/v1/devices", {"name": "Jane"}),
        ("/v1/devices", {"serial_number": "ABCD1"}),
    ):
        answer = await client.post(path, json=body, headers=headers)
        # A body that the operation does not take is refused before its key is looked at.
        assert answer.status_code == (422 if body != {"name": "Jane"} else 400)
    assert await count(client, tenant.headers) == 1
    assert (await client.get("/v1/devices", headers=tenant.headers)).json()["data"] == []


async def test_the_same_key_with_another_method_is_refused(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    """Only POST takes a key, so the claim of another method is made here as a request makes it."""
    first = await create(client, tenant.headers, "order-1")
    actor = Actor(
        kind="key",
        id="key_x",
        world_id=tenant.test_world,
        project_id=tenant.project_id,
        mode="test",
        space="keys",
    )

    async def claim(method: str) -> StoredAnswer | None:
        made = ticket(actor, "order-1", method, "/v1/end-users", first.request.content)
        async with ports.database.transaction() as connection:
            return await made.claim(connection, ports.sealer, ports.clock.now(), timedelta(hours=24))

    assert await claim("POST") == StoredAnswer(201, first.content)
    for method in ("PUT", "PATCH"):
        with pytest.raises(IdempotencyKeyReused):
            await claim(method)


async def test_of_many_at_once_one_has_an_effect(client: httpx.AsyncClient, tenant: Tenant) -> None:
    answers = await asyncio.gather(*(create(client, tenant.headers, "order-1") for _ in range(20)))
    assert {each.status_code for each in answers} <= {201, 409}
    made = [each.json()["id"] for each in answers if each.status_code == 201]
    assert len(set(made)) == 1
    for each in answers:
        if each.status_code == 409:
            assert each.json()["error"]["code"] == "idempotency_key_in_use"
            assert each.headers["retry-after"] == "1"
    assert await count(client, tenant.headers) == 1


async def test_a_key_that_is_in_use_is_409(client: httpx.AsyncClient, tenant: Tenant, ports: Ports) -> None:
    """The end user's row is held by somebody else, so that the first request has to wait."""
    first = await create(client, tenant.headers, None, {"external_id": "e"})
    device = await client.post("/v1/devices", json={"serial_number": "ABCD1"}, headers=tenant.headers)
    path = f"/v1/devices/{device.json()['id']}/bind"
    body, headers = {"end_user_id": first.json()["id"]}, {**tenant.headers, "Idempotency-Key": "bind-1"}
    async with ports.database.transaction() as connection:
        await connection.execute(
            "SELECT 1 FROM end_users WHERE world_id = $1 AND id = $2 FOR UPDATE",
            tenant.test_world,
            first.json()["id"],
        )
        waiting = asyncio.create_task(client.post(path, json=body, headers=headers))
        await until_waiting(ports, 1)
        second = await client.post(path, json=body, headers=headers)
        assert second.status_code == 409
        assert second.json()["error"]["code"] == "idempotency_key_in_use"
        assert second.headers["retry-after"] == "1"
        assert not waiting.done()
    assert (await waiting).status_code == 200
    replayed = await client.post(path, json=body, headers=headers)
    assert replayed.json() == (await waiting).json()


async def test_a_refusal_is_not_kept(client: httpx.AsyncClient, tenant: Tenant) -> None:
    taken = await create(client, tenant.headers, None, {"external_id": "e"})
    assert (await create(client, tenant.headers, "order-1", {"external_id": "e"})).status_code == 409
    await client.delete(f"/v1/end-users/{taken.json()['id']}", headers=tenant.headers)
    again = await create(client, tenant.headers, "order-1", {"external_id": "e"})
    assert again.status_code == 201
    assert "idempotent-replayed" not in again.headers


async def test_a_request_that_dies_leaves_nothing_behind(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    """Its connection is cut while it waits for a lock, which it gets after it took its key."""
    user = await create(client, tenant.headers, None)
    device = await client.post("/v1/devices", json={"serial_number": "ABCD1"}, headers=tenant.headers)
    path = f"/v1/devices/{device.json()['id']}/bind"
    body, headers = {"end_user_id": user.json()["id"]}, {**tenant.headers, "Idempotency-Key": "bind-1"}
    async with ports.database.transaction() as connection:
        await connection.execute(
            "SELECT 1 FROM end_users WHERE world_id = $1 AND id = $2 FOR UPDATE",
            tenant.test_world,
            user.json()["id"],
        )
        waiting = asyncio.create_task(client.post(path, json=body, headers=headers))
        await until_waiting(ports, 1)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        assert (await waiting).status_code == 503
    again = await client.post(path, json=body, headers=headers)
    assert again.status_code == 200
    assert "idempotent-replayed" not in again.headers


async def test_principals_and_worlds_have_keys_of_their_own(
    client: httpx.AsyncClient, tenant: Tenant, stranger: Tenant, ports: Ports
) -> None:
    one = await create(client, tenant.headers, None)
    other = await create(client, tenant.headers, None)
    body = {"scopes": ["recordings:read"]}
    ids: set[str] = set()
    for token in (
        tenant.test_key,
        tenant.live_key,
        stranger.test_key,
        await make_key(ports, tenant.test_world, "rk_test", scopes=SCOPES, end_user_id=one.json()["id"]),
        await make_key(ports, tenant.test_world, "rk_test", scopes=SCOPES, end_user_id=other.json()["id"]),
    ):
        headers = {**bearer(token), "Idempotency-Key": "same"}
        made = await client.post("/v1/api-keys", json=body, headers=headers)
        assert made.status_code == 201
        assert "idempotent-replayed" not in made.headers
        ids.add(made.json()["id"])
    assert len(ids) == 5
    # The project's keys share theirs.
    second = await make_key(ports, tenant.test_world, "sk_test")
    again = await client.post(
        "/v1/api-keys", json=body, headers={**bearer(second), "Idempotency-Key": "same"}
    )
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_key_a_device_and_an_upload_token_repeat_only_their_own_requests(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    async def post(path: str, token: str, body: dict[str, str]) -> dict[str, str]:
        headers = {**bearer(token), "Idempotency-Key": "same"}
        answer = await client.post(path, json=body, headers=headers)
        assert answer.is_success
        assert "idempotent-replayed" not in answer.headers
        return answer.json()

    person = (await create(client, tenant.headers, None)).json()["id"]
    tokens = [tenant.test_key]
    for number in range(2):
        serial = {"serial_number": f"PRINCIPAL{number}"}
        device = (await client.post("/v1/devices", json=serial, headers=tenant.headers)).json()["id"]
        bound = await client.post(
            f"/v1/devices/{device}/bind", json={"end_user_id": person}, headers=tenant.headers
        )
        tokens.append(bound.json()["device_token"])
    made = [await post("/v1/recordings", token, {"end_user_id": person}) for token in tokens]
    assert len({each["id"] for each in made}) == 3
    for each, token in zip(made, tokens, strict=True):
        path = f"/v1/recordings/{each['id']}/upload-url"
        upload = (await client.post(path, json={}, headers=bearer(token))).json()["upload_token"]
        await post(path, upload, {})


async def test_what_is_kept_is_sealed(client: httpx.AsyncClient, tenant: Tenant, ports: Ports) -> None:
    headers = {**tenant.headers, "Idempotency-Key": "key-1"}
    made = await client.post("/v1/api-keys", json={"kind": "secret"}, headers=headers)
    secret = made.json()["key"]
    async with ports.database.acquire() as connection:
        rows = await connection.fetch(
            "SELECT sealed_body FROM idempotency_keys WHERE world_id = $1", tenant.test_world
        )
    assert len(rows) == 1
    assert secret.encode() not in rows[0]["sealed_body"]
    assert b"key_" not in rows[0]["sealed_body"]
    replayed = await client.post("/v1/api-keys", json={"kind": "secret"}, headers=headers)
    assert replayed.json()["key"] == secret


@pytest.fixture
async def clocked(fresh_database: str, tmp_path: Path) -> AsyncGenerator[tuple[httpx.AsyncClient, Ports]]:
    """A server whose clock the test turns."""
    clock = ManualClock(datetime(2026, 1, 15, 12, tzinfo=UTC))
    async with running(tmp_path, fresh_database, clock=clock) as live, api_client(live.url) as client:
        yield client, live.ports


async def test_after_24_hours_a_key_is_free_again(clocked: tuple[httpx.AsyncClient, Ports]) -> None:
    client, ports = clocked
    assert isinstance(ports.clock, ManualClock)
    tenant = await make_tenant(ports)
    first = await create(client, tenant.headers, "order-1")
    ports.clock.advance(timedelta(hours=23, minutes=59))
    assert (await create(client, tenant.headers, "order-1")).json() == first.json()
    ports.clock.advance(timedelta(minutes=2))
    other = await create(client, tenant.headers, "order-1", {"name": "Joan"})
    assert other.status_code == 201
    assert other.json()["id"] != first.json()["id"]


async def test_a_natural_operation_ignores_the_key(client: httpx.AsyncClient, tenant: Tenant) -> None:
    device = await client.post("/v1/devices", json={"serial_number": "ABCD1"}, headers=tenant.headers)
    path = f"/v1/devices/{device.json()['id']}/unbind"
    for body in ({}, {"a": 1}):
        answer = await client.post(path, json=body, headers={**tenant.headers, "Idempotency-Key": "k"})
        assert answer.status_code == 200
        assert "idempotent-replayed" not in answer.headers


async def test_operations_that_keep_no_answer_check_the_key_and_ignore_it(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    """One key for all of them, and with other bodies: a heartbeat, a link, and what repeats by itself."""
    user = await create(client, tenant.headers, None)
    device = (
        await client.post("/v1/devices", json={"serial_number": "ABCD1"}, headers=tenant.headers)
    ).json()
    path, body = f"/v1/devices/{device['id']}", {"end_user_id": user.json()["id"]}
    token = (await client.post(f"{path}/bind", json=body, headers=tenant.headers)).json()["device_token"]
    made = (await client.post("/v1/recordings", json=body, headers=tenant.headers)).json()
    headers = {"Idempotency-Key": "same"}
    for battery in (1, 2):
        for sent in (bearer(token), tenant.headers):
            beat = await client.post(
                f"{path}/heartbeat", json={"battery_percent": battery}, headers={**sent, **headers}
            )
            assert (beat.status_code, "idempotent-replayed" in beat.headers) == (200, False)
        shown = await client.get(path, headers=tenant.headers)
        assert shown.json()["battery_percent"] == battery
    for _ in range(2):  # refused for what it is, and not for the key
        link = await client.post(
            f"/v1/recordings/{made['id']}/download-url",
            json={"media_id": "med_none"},
            headers={**tenant.headers, **headers},
        )
        assert link.status_code == 404
    for sent in (bearer(token), tenant.headers):
        refused = await client.post(f"{path}/heartbeat", json={}, headers={**sent, "Idempotency-Key": "a b"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "Idempotency-Key")
    async with ports.database.acquire() as connection:
        kept = "SELECT count(*) FROM idempotency_keys WHERE world_id = $1"
        assert await connection.fetchval(kept, tenant.test_world) == 0


async def test_an_answer_that_no_secret_opens_any_more_asks_for_a_new_key(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    await create(client, tenant.headers, "order-9")
    async with ports.database.acquire() as connection:
        await connection.execute(
            "UPDATE idempotency_keys SET sealed_body = $2 WHERE world_id = $1",
            tenant.test_world,
            sealer("a secret that was changed twice since", None).seal(b"{}", b""),
        )
    repeated = await create(client, tenant.headers, "order-9")
    assert repeated.status_code == 422
    assert repeated.json()["error"]["code"] == "idempotency_key_reused"
