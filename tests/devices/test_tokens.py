"""The rules of device tokens, on every route that a device may call."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import httpx
import pytest

from lapel.foundation.http.operations import Operation
from lapel.foundation.identity.tokens import new_token
from lapel.foundation.ports import Ports
from lapel.slices.devices.tokens.token_queries import INSERT_TOKEN
from tests.devices.conftest import Registry
from tests.support.declared import declared_operations
from tests.support.tenants import bearer

ROUTES = [each for each in declared_operations() if "device" in each.access.callers]
OTHERS = [each for each in ROUTES if not each.access.refreshing_tokens]
VALUES = {"device_id": "me", "recording_id": "rec_none", "command_id": "cmd_none"}
REFRESH = "/v1/devices/me/token/refresh"


@pytest.fixture
async def bound(registry: Registry) -> dict[str, Any]:
    return await registry.bound("TOKENS01")


async def call(client: httpx.AsyncClient, operation: Operation, token: str) -> httpx.Response:
    path = operation.path.format(**VALUES)
    return await client.request(operation.method, path, json={}, headers=bearer(token))


async def refresh(client: httpx.AsyncClient, token: str) -> str | None:
    """The next token; None when this one may not ask."""
    answer = await client.post(REFRESH, headers=bearer(token))
    assert answer.status_code in (200, 401), answer.text
    return answer.json()["device_token"] if answer.status_code == 200 else None


async def refused_everywhere(client: httpx.AsyncClient, token: str, routes: list[Operation]) -> None:
    for operation in routes:
        answer = await call(client, operation, token)
        assert answer.status_code == 401, operation.name
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_device_may_do_what_the_contract_says() -> None:
    assert {each.name for each in ROUTES} >= {
        "create_recording",
        "create_upload_url",
        "complete_upload",
        "refresh_device_token",
        "list_pending_commands",
        "acknowledge_command",
    }
    assert [each.name for each in ROUTES if each.access.refreshing_tokens] == ["refresh_device_token"]


@pytest.mark.parametrize("operation", ROUTES, ids=lambda each: each.name)
async def test_a_current_token_is_let_in(
    client: httpx.AsyncClient, bound: dict[str, Any], operation: Operation
) -> None:
    assert (await call(client, operation, bound["device_token"])).status_code in (200, 201, 400, 404)


async def test_after_unbinding_a_token_does_nothing(
    client: httpx.AsyncClient, registry: Registry, bound: dict[str, Any]
) -> None:
    await registry.ask("POST", f"/devices/{bound['id']}/unbind")
    await refused_everywhere(client, bound["device_token"], ROUTES)
    person = (await registry.ask("POST", "/end-users")).json()["id"]
    again = await registry.ask("POST", f"/devices/{bound['id']}/bind", {"end_user_id": person})
    # Nor does it come back to life with the next binding.
    await refused_everywhere(client, bound["device_token"], ROUTES)
    assert await refresh(client, again.json()["device_token"])


async def test_after_deleting_the_end_user_a_token_does_nothing(
    client: httpx.AsyncClient, registry: Registry, bound: dict[str, Any]
) -> None:
    waiting = await refresh(client, bound["device_token"])
    await registry.ask("DELETE", f"/end-users/{bound['end_user_id']}")
    for token in (bound["device_token"], waiting):
        assert token is not None
        await refused_everywhere(client, token, ROUTES)


@pytest.mark.parametrize("first_use", OTHERS, ids=lambda each: each.name)
async def test_a_replaced_token_only_refreshes_until_the_new_one_is_used(
    client: httpx.AsyncClient, bound: dict[str, Any], first_use: Operation
) -> None:
    old = bound["device_token"]
    lost = await refresh(client, old)
    assert lost is not None
    await refused_everywhere(client, old, OTHERS)
    new = await refresh(client, old)
    assert new is not None
    await refused_everywhere(client, lost, ROUTES)
    assert (await call(client, first_use, new)).status_code in (200, 201, 400, 404)
    await refused_everywhere(client, old, ROUTES)
    assert await refresh(client, new) is not None


async def test_a_refused_request_is_a_first_use_as_well(
    client: httpx.AsyncClient, bound: dict[str, Any]
) -> None:
    """Whoever can call with the new token has it: the old one is of no more use, whatever is answered."""
    new = await refresh(client, bound["device_token"])
    assert new is not None
    assert (await client.get("/v1/devices", headers=bearer(new))).status_code == 403
    assert await refresh(client, bound["device_token"]) is None
    assert await refresh(client, new) is not None


async def test_no_number_of_lost_answers_locks_a_device_out(
    client: httpx.AsyncClient, registry: Registry, ports: Ports, bound: dict[str, Any]
) -> None:
    """The device keeps the token that it has until it has stored another one."""
    chance = random.Random(7)
    held = bound["device_token"]
    for _ in range(40):
        for _ in range(chance.randrange(4)):  # answers that never arrive, some of them at once
            lost = await asyncio.gather(*(refresh(client, held) for _ in range(chance.choice((1, 1, 3)))))
            assert None not in lost
        answered = await refresh(client, held)
        assert answered is not None
        held = answered
        if chance.random() < 0.5:
            assert (await client.get("/v1/devices", headers=bearer(held))).status_code == 403
    assert await refresh(client, held) is not None
    async with ports.database.acquire() as connection:
        kept = await connection.fetchval(
            "SELECT count(*) FROM device_tokens WHERE world_id = $1 AND device_id = $2",
            registry.tenant.test_world,
            bound["id"],
        )
    assert kept == 2


@pytest.mark.parametrize("state", ["current", "refreshing", "fresh"])
@pytest.mark.parametrize("generation", [1, 3])
async def test_a_token_of_another_binding_does_nothing(
    client: httpx.AsyncClient,
    registry: Registry,
    ports: Ports,
    bound: dict[str, Any],
    state: str,
    generation: int,
) -> None:
    """Even if its row were left behind: what counts is the generation of the binding."""
    device, world = bound["id"], registry.tenant.test_world
    await registry.ask("POST", f"/devices/{device}/unbind")
    await registry.ask("POST", f"/devices/{device}/bind", {"end_user_id": bound["end_user_id"]})
    token = new_token("dtok")
    async with ports.database.acquire() as connection:
        await connection.execute(
            "DELETE FROM device_tokens WHERE world_id = $1 AND device_id = $2", world, device
        )
        token_hash, secret_id = ports.hasher.hash(token), ports.hasher.secret_id
        await connection.execute(
            INSERT_TOKEN, token_hash, secret_id, world, device, generation, state, ports.clock.now()
        )
    await refused_everywhere(client, token, ROUTES)
    shown = await registry.get(f"/devices/{device}")
    assert (shown["binding_generation"], shown["last_seen_at"]) == (2, None)


async def test_a_devices_token_is_for_that_device_alone(
    client: httpx.AsyncClient, registry: Registry, bound: dict[str, Any]
) -> None:
    other = await registry.bound("TOKENS02")
    for operation in ROUTES:
        if "device_id" in operation.parameters:
            path = operation.path.format(**(VALUES | {"device_id": other["id"]}))
            body = {"status": "executed"}
            answer = await client.request(
                operation.method, path, json=body, headers=bearer(bound["device_token"])
            )
            assert answer.status_code == 403, operation.name
    own = await client.post(
        "/v1/recordings", json={"device_id": other["id"]}, headers=bearer(bound["device_token"])
    )
    assert (own.status_code, own.json()["device_id"]) == (201, bound["id"])
