"""A key that would be more than it is by repeating what a stronger one asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from lapel.foundation.ports import Ports
from tests.support.tenants import Tenant, bearer, make_key

REPEAT = {"Idempotency-Key": "set-up-1"}


@pytest.mark.parametrize(
    "body", [{"kind": "secret"}, {"scopes": ["recordings:read", "keys:write"]}], ids=["secret", "restricted"]
)
async def test_a_repeat_by_a_weaker_key_does_not_show_it_the_new_key(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant, body: dict[str, Any]
) -> None:
    weak = await make_key(ports, tenant.test_world, "rk_test", scopes=("keys:write",))
    made = await client.post("/v1/api-keys", json=body, headers=tenant.headers | REPEAT)
    assert made.status_code == 201
    stolen = await client.post("/v1/api-keys", json=body, headers=bearer(weak) | REPEAT)
    assert stolen.status_code == 403
    assert made.json()["key"] not in stolen.text
    again = await client.post("/v1/api-keys", json=body, headers=tenant.headers | REPEAT)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == made.json()


async def test_a_repeat_by_a_weaker_key_does_not_show_it_the_rotated_key(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant
) -> None:
    weak = await make_key(ports, tenant.test_world, "rk_test", scopes=("keys:write",))
    strong = await client.post("/v1/api-keys", json={"kind": "secret"}, headers=tenant.headers)
    path = f"/v1/api-keys/{strong.json()['id']}/rotate"
    made = await client.post(path, headers=tenant.headers | REPEAT)
    assert made.status_code == 201
    stolen = await client.post(path, headers=bearer(weak) | REPEAT)
    assert stolen.status_code == 403
    assert made.json()["key"] not in stolen.text


async def test_a_repeat_does_not_show_a_key_to_one_that_ends_earlier(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    brief = await make_key(ports, tenant.test_world, "sk_test", expires_at=soon)
    body = {"scopes": ["recordings:read"]}
    made = await client.post("/v1/api-keys", json=body, headers=tenant.headers | REPEAT)
    assert made.status_code == 201
    stolen = await client.post("/v1/api-keys", json=body, headers=bearer(brief) | REPEAT)
    assert stolen.status_code == 403


async def test_a_key_that_rotates_itself_may_repeat_that(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant
) -> None:
    own = await client.post(
        "/v1/api-keys", json={"scopes": ["keys:write", "recordings:read"]}, headers=tenant.headers
    )
    path, headers = f"/v1/api-keys/{own.json()['id']}/rotate", bearer(own.json()["key"]) | REPEAT
    made = await client.post(path, json={"overlap_seconds": 600}, headers=headers)
    assert made.status_code == 201
    again = await client.post(path, json={"overlap_seconds": 600}, headers=headers)
    assert again.status_code == 201
    assert again.json() == made.json()
