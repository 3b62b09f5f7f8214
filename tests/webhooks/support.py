"""Webhooks, events and deliveries for tests: made over HTTP, or written as the worker writes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx

from lapel.foundation.core.actors import Actor
from lapel.foundation.ports import Ports
from lapel.slices.projects.scopes import SCOPES
from tests.support.tenants import Tenant

_NTH = count(1)
URL = "https://hooks.receiver.example/in/9f8e7d?token=s3cret"
INSERT_DELIVERY = """
INSERT INTO webhook_deliveries
    (world_id, id, webhook_id, event_id, resource_id, position, state, attempts, tries, due_at, ended_at,
     created_at)
VALUES ($1, $2, $3, $4, 'dev_1', 1, $5, $6, $6,
    CASE WHEN $5 = 'pending' THEN $7::timestamptz + interval '1 hour' END,
    CASE WHEN $5 <> 'pending' THEN $7::timestamptz END, $7)
"""
INSERT_ATTEMPT = """
INSERT INTO webhook_attempts (world_id, delivery_id, number, started_at, latency_ms, status, error, answer)
VALUES ($1, $2, $3, now(), 12, $4, $5, $6)
"""
INSERT_EVENT = """
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at, test_for, position)
VALUES ($1, $2, $3, 'dev_1', $2, '{}', $4, $5, 1)
"""
ROWS = """
SELECT (SELECT count(*) FROM webhooks WHERE id = $1),
    (SELECT count(*) FROM webhook_deliveries WHERE webhook_id = $1),
    (SELECT count(*) FROM webhook_attempts a JOIN webhook_deliveries d ON d.id = a.delivery_id
     WHERE webhook_id = $1)
"""
BY_EVENT = "SELECT event_id, state, tries FROM webhook_deliveries WHERE webhook_id = $1"
STATES = "SELECT id, state FROM webhook_deliveries WHERE webhook_id = $1"
QUEUED = """
SELECT count(*) FROM jobs.pgqueuer
WHERE entrypoint = $1 AND (convert_from(payload, 'UTF8')::jsonb ->> 'world_id')::bigint = $2
"""


@dataclass(frozen=True, slots=True)
class Hooks:
    """The test world of a tenant."""

    client: httpx.AsyncClient
    tenant: Tenant
    ports: Ports

    @property
    def world(self) -> int:
        """The test world."""
        return self.tenant.test_world

    @property
    def actor(self) -> Actor:
        """A key of the test world."""
        return Actor(
            kind="key",
            id="key_1",
            world_id=self.world,
            project_id=self.tenant.project_id,
            mode="test",
            scopes=frozenset(SCOPES),
        )

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """A request below `/v1/webhooks`."""
        return await self.client.request(
            method, f"/v1/webhooks{path}", json=body, headers=self.tenant.headers
        )

    async def get(self, path: str, **query: Any) -> dict[str, Any]:
        """What a GET answers."""
        answer = await self.client.get(f"/v1/webhooks{path}", params=query, headers=self.tenant.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def add(self, **body: Any) -> str:
        """The id of a new webhook; each has a URL of its own."""
        url = f"{URL}&nth={self.ports.ids.new('wh')}"
        answer = await self.call("POST", "", {"url": url, "events": ["*"], **body})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def event(self, type_: str, at: datetime, *, test_for: str | None = None) -> str:
        """The id of an event that has its position."""
        # The tests look at the bodies of all events whose ids are as long as usual.
        event_id = f"evt_{self.ports.ids.new('evt')[-20:]}"
        async with self.ports.database.acquire() as connection:
            await connection.execute(INSERT_EVENT, self.world, event_id, type_, at, test_for)
        return event_id

    async def delivery(
        self,
        webhook_id: str,
        event_id: str,
        *,
        state: str = "pending",
        attempts: int = 0,
        at: datetime | None = None,
    ) -> str:
        """The id of a delivery, as the fan-out makes it."""
        made = self.ports.ids.new("whd")
        values = (self.world, made, webhook_id, event_id, state, attempts, at or datetime.now(UTC))
        async with self.ports.database.acquire() as connection:
            await connection.execute(INSERT_DELIVERY, *values)
        return made

    async def attempt(
        self,
        delivery_id: str,
        number: int,
        *,
        status: int | None = None,
        error: str | None = None,
        answer: bytes | None = None,
    ) -> None:
        """An attempt, as the worker writes it."""
        async with self.ports.database.acquire() as connection:
            await connection.execute(INSERT_ATTEMPT, self.world, delivery_id, number, status, error, answer)

    async def rows(self, webhook_id: str) -> tuple[int, ...]:
        """How many rows there are: the webhook's, its deliveries', and its attempts'."""
        async with self.ports.database.acquire() as connection:
            return tuple(await connection.fetchrow(ROWS, webhook_id) or ())

    async def states(self, webhook_id: str) -> dict[str, str]:
        """The state of each delivery of a webhook."""
        async with self.ports.database.acquire() as connection:
            return {row["id"]: row["state"] for row in await connection.fetch(STATES, webhook_id)}

    async def by_event(self, webhook_id: str) -> list[tuple[str, str, int]]:
        """Event, state and tries of each delivery of a webhook."""
        async with self.ports.database.acquire() as connection:
            rows = await connection.fetch(BY_EVENT, webhook_id)
        return [(row["event_id"], row["state"], row["tries"]) for row in rows]

    async def tries(self, delivery_id: str) -> int:
        """The attempts of a delivery's present schedule."""
        async with self.ports.database.acquire() as connection:
            return await connection.fetchval(
                "SELECT tries FROM webhook_deliveries WHERE id = $1", delivery_id
            )

    async def queued(self, entrypoint: str) -> int:
        """How many jobs of the world are queued."""
        async with self.ports.database.acquire() as connection:
            return await connection.fetchval(QUEUED, entrypoint, self.world)


async def add(client: httpx.AsyncClient, tenant: Tenant, **body: Any) -> dict[str, Any]:
    """Registers a webhook in the test world; each has a URL of its own."""
    url = f"{URL}&nth={next(_NTH)}"
    answer = await client.post(
        "/v1/webhooks", json={"url": url, "events": ["*"], **body}, headers=tenant.headers
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


async def changed(client: httpx.AsyncClient, tenant: Tenant, webhook_id: str, **body: Any) -> dict[str, Any]:
    """Changes a webhook."""
    answer = await client.patch(f"/v1/webhooks/{webhook_id}", json=body, headers=tenant.headers)
    assert answer.status_code == 200, answer.text
    return answer.json()
