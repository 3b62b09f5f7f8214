"""Delivering an event again: to whom, and what becomes of an earlier delivery."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from lapel.foundation.ports import Ports
from tests.events.writing import place, write
from tests.support.tenants import Tenant, bearer

STATES = """
SELECT webhook_id, state, tries, attempts, due_at <= now() AS due FROM webhook_deliveries
WHERE world_id = $1 AND event_id = $2 ORDER BY id
"""
END = """
UPDATE webhook_deliveries SET state = 'succeeded', tries = 3, attempts = 5, due_at = NULL, ended_at = now()
WHERE world_id = $1
"""


@pytest.fixture
async def webhooks(client: httpx.AsyncClient, tenant: Tenant) -> list[str]:
    """One for all types, one for another type, and a disabled one."""
    made: list[str] = []
    for events in (["*"], ["device.bound"], ["*"]):
        body = {"url": f"https://receiver.example/hooks/{len(made)}", "events": events}
        answer = await client.post("/v1/webhooks", json=body, headers=tenant.headers)
        assert answer.status_code == 201, answer.text
        made.append(answer.json()["id"])
    disabled = {"status": "disabled"}
    changed = await client.patch(f"/v1/webhooks/{made[2]}", json=disabled, headers=tenant.headers)
    assert changed.status_code == 200
    return made


async def states(ports: Ports, tenant: Tenant, event_id: str) -> list[tuple[Any, ...]]:
    async with ports.database.acquire() as connection:
        return [tuple(row) for row in await connection.fetch(STATES, tenant.test_world, event_id)]


async def test_it_is_due_at_once_for_the_subscribed_or_the_named_webhook(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant, webhooks: list[str]
) -> None:
    every, other, disabled = webhooks
    event_id = await write(ports, tenant.test_world, "rec_1")

    async def resend(body: dict[str, Any], status: int = 202, event: str = event_id) -> Any:
        path = f"/v1/events/{event}/resend"
        answer = await client.post(path, json=body, headers=tenant.headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    await resend({}, 404)  # the worker delivers it anyway
    await place(ports)
    await resend({"webhook": other}, 400)  # not to all of them
    assert await states(ports, tenant, event_id) == []
    assert await resend({}) == {"event_id": event_id, "webhook_ids": [every]}
    assert await states(ports, tenant, event_id) == [(every, "pending", 0, 0, True)]
    async with ports.database.acquire() as connection:
        await connection.execute(END, tenant.test_world)
    assert await resend({"webhook_id": every}) == {"event_id": event_id, "webhook_ids": [every]}
    assert await states(ports, tenant, event_id) == [(every, "pending", 0, 5, True)]
    assert (await resend({"webhook_id": other}))["webhook_ids"] == [other]
    assert [state[0] for state in await states(ports, tenant, event_id)] == [every, other]
    await resend({"webhook_id": disabled}, 409)
    await resend({"webhook_id": "wh_0"}, 404)
    tried = await write(ports, tenant.test_world, "rec_2", test_for=every)
    await resend({}, 404, tried)


async def test_another_worlds_webhook_and_event_are_404(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant, stranger: Tenant, webhooks: list[str]
) -> None:
    own = await write(ports, tenant.test_world, "rec_1")
    foreign = await write(ports, stranger.test_world, "rec_1")
    await place(ports)
    for token, event_id, body in (
        (stranger.test_key, own, {}),
        (tenant.live_key, own, {}),
        (stranger.test_key, foreign, {"webhook_id": webhooks[0]}),
    ):
        answer = await client.post(f"/v1/events/{event_id}/resend", json=body, headers=bearer(token))
        assert answer.status_code == 404
    assert await states(ports, tenant, own) == []
