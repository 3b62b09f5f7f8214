"""`GET /v1/whoami`: every kind of token learns what it is, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from lapel.foundation.ports import Ports
from tests.support.declared import TOKEN_KINDS, declared_operations
from tests.support.tenants import Tenant, bearer, make_key

Json = dict[str, Any]
NOBODY: Json = {
    "id": None,
    "name": None,
    "scopes": [],
    "end_user_id": None,
    "device_id": None,
    "recording_id": None,
    "expires_at": None,
}


class Asker:
    """A project's server."""

    def __init__(self, client: httpx.AsyncClient, tenant: Tenant) -> None:
        self.client = client
        self.tenant = tenant
        self.world: Json = {"project_id": tenant.project_id, "mode": "test"}

    async def post(self, path: str, **body: Any) -> Json:
        answer = await self.client.post(f"/v1{path}", json=body, headers=self.tenant.headers)
        assert answer.is_success, answer.text
        return answer.json()

    async def who(self, token: str) -> Json:
        answer = await self.client.get("/v1/whoami", headers=bearer(token))
        assert answer.status_code == 200, answer.text
        assert token not in answer.text
        return answer.json()


@pytest.fixture
def asker(client: httpx.AsyncClient, tenant: Tenant) -> Asker:
    return Asker(client, tenant)


def test_every_kind_of_token_may_ask() -> None:
    (operation,) = (each for each in declared_operations() if each.path == "/v1/whoami")
    assert operation.access.callers == {kind.name for kind in TOKEN_KINDS}
    assert operation.access.scope is None


async def test_a_key_learns_its_scopes_its_end_user_and_its_end(asker: Asker) -> None:
    secret = await asker.post("/api-keys", kind="secret", name="all")
    assert await asker.who(secret["key"]) == {
        **NOBODY,
        **asker.world,
        "kind": "secret",
        "id": secret["id"],
        "name": "all",
        "scopes": secret["scopes"],
    }
    assert "audit:read" in secret["scopes"]
    person = (await asker.post("/end-users"))["id"]
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    narrow = await asker.post(
        "/api-keys", scopes=["recordings:read"], end_user_id=person, expires_at=ends, name="phone"
    )
    assert await asker.who(narrow["key"]) == {
        **NOBODY,
        **asker.world,
        "kind": "restricted",
        "id": narrow["id"],
        "name": "phone",
        "scopes": ["recordings:read"],
        "end_user_id": person,
        "expires_at": narrow["expires_at"],
    }
    assert (await asker.who(asker.tenant.live_key))["mode"] == "live"


async def test_a_key_without_any_scope_may_ask(asker: Asker, ports: Ports) -> None:
    bare = await make_key(ports, asker.tenant.test_world, "rk_test", scopes=())
    assert (await asker.who(bare))["scopes"] == []


async def test_tokens_learn_what_they_are_bound_to(asker: Asker) -> None:
    person = (await asker.post("/end-users"))["id"]
    device = (await asker.post("/devices", serial_number="WHO0001"))["id"]
    token = (await asker.post(f"/devices/{device}/bind", end_user_id=person))["device_token"]
    shown = {**NOBODY, **asker.world}
    assert await asker.who(token) == {**shown, "kind": "device", "device_id": device, "end_user_id": person}
    recording = (await asker.post("/recordings", end_user_id=person))["id"]
    upload = await asker.post(f"/recordings/{recording}/upload-url")
    found = await asker.who(upload["upload_token"])
    assert datetime.fromisoformat(found.pop("expires_at")) > datetime.now(UTC)
    assert found | {"expires_at": None} == {**shown, "kind": "upload", "recording_id": recording}
    ends = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    issued = await asker.post(f"/end-users/{person}/token", expires_at=ends)
    assert await asker.who(issued["token"]) == {
        **shown,
        "kind": "end_user",
        "end_user_id": person,
        "expires_at": issued["expires_at"],
    }


async def test_a_token_that_ended_learns_nothing(asker: Asker) -> None:
    made = await asker.post("/api-keys", scopes=["recordings:read"])
    await asker.client.delete(f"/v1/api-keys/{made['id']}", headers=asker.tenant.headers)
    answer = await asker.client.get("/v1/whoami", headers=bearer(made["key"]))
    assert answer.status_code == 401
    assert (await asker.client.get("/v1/whoami")).status_code == 401
