"""A key with `end_user_keys:write` issues keys and tokens of end users, and sees no other key."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from lapel.foundation.ports import Ports
from lapel.slices.projects.scopes import Scope
from tests.support.tenants import Tenant, bearer, make_key

Json = dict[str, Any]
# What the phones of end users may do, and the token of an assistant reads.
HANDED_OUT: tuple[Scope, ...] = (
    "recordings:read",
    "recordings:write",
    "transcriptions:read",
    "summaries:read",
    "end_users:read",
    "devices:read",
)


class Minter:
    """A backend whose key issues the keys of its end users."""

    def __init__(self, client: httpx.AsyncClient, tenant: Tenant, key: str) -> None:
        self.client = client
        self.tenant = tenant
        self.key = key

    async def call(self, method: str, path: str, expect: int, body: Json | None = None, key: str = "") -> Any:
        headers = bearer(key or self.key)
        answer = await self.client.request(method, f"/v1{path}", json=body, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json() if answer.content else None

    async def person(self) -> str:
        return (await self.call("POST", "/end-users", 201, {}, self.tenant.test_key))["id"]

    async def create(self, expect: int = 201, **body: Any) -> Json:
        return await self.call("POST", "/api-keys", expect, body)

    async def project_key(self, *scopes: str) -> Json:
        return await self.call("POST", "/api-keys", 201, {"scopes": [*scopes]}, self.tenant.test_key)

    async def listed(self) -> set[str]:
        return {each["id"] for each in (await self.call("GET", "/api-keys", 200))["data"]}


@pytest.fixture
async def minter(client: httpx.AsyncClient, tenant: Tenant, ports: Ports) -> Minter:
    scopes: tuple[Scope, ...] = ("end_user_keys:write", *HANDED_OUT)
    return Minter(client, tenant, await make_key(ports, tenant.test_world, "rk_test", scopes=scopes))


async def test_it_makes_lists_rotates_and_revokes_keys_of_end_users(minter: Minter) -> None:
    one, other = await minter.person(), await minter.person()
    phone = await minter.create(scopes=["recordings:write", "recordings:read"], end_user_id=one)
    tablet = await minter.create(scopes=["recordings:read"], end_user_id=other)
    assert (phone["kind"], phone["end_user_id"]) == ("restricted", one)
    made = await minter.call("POST", "/recordings", 201, {}, phone["key"])
    assert made["end_user_id"] == one
    rotated = await minter.call("POST", f"/api-keys/{phone['id']}/rotate", 201, {"overlap_seconds": 0})
    assert rotated["end_user_id"] == one
    await minter.call("GET", "/recordings", 401, key=phone["key"])
    assert await minter.listed() == {phone["id"], tablet["id"], rotated["id"]}
    await minter.call("DELETE", f"/api-keys/{rotated['id']}", 204)
    await minter.call("GET", "/recordings", 401, key=rotated["key"])


async def test_it_sees_no_key_of_the_project(minter: Minter) -> None:
    narrow = await minter.project_key("recordings:read")
    itself = await minter.call("GET", "/whoami", 200)
    for key_id in (narrow["id"], itself["id"]):
        await minter.call("DELETE", f"/api-keys/{key_id}", 404)
        await minter.call("POST", f"/api-keys/{key_id}/rotate", 404, {})
    assert await minter.listed() == set()
    await minter.call("GET", "/recordings", 200, key=narrow["key"])


async def test_it_makes_no_key_without_an_end_user(minter: Minter) -> None:
    refused = await minter.create(403, scopes=["recordings:read"])
    assert "name the `end_user_id`" in refused["error"]["message"]
    await minter.create(403, kind="secret")
    await minter.create(404, scopes=["recordings:read"], end_user_id="eu_nobody")
    assert await minter.listed() == set()


async def test_it_hands_out_no_scope_that_it_lacks(minter: Minter) -> None:
    one = await minter.person()
    for scope in ("keys:write", "ask:write", "audit:read"):
        refused = await minter.create(403, scopes=["recordings:read", scope], end_user_id=one)
        assert scope in refused["error"]["message"]
    body = {"scopes": ["audit:read"], "end_user_id": one}
    stronger = await minter.call("POST", "/api-keys", 201, body, minter.tenant.test_key)
    await minter.call("DELETE", f"/api-keys/{stronger['id']}", 403)


async def test_it_issues_and_revokes_end_user_tokens(minter: Minter, ports: Ports) -> None:
    one = await minter.person()
    token = (await minter.call("POST", f"/end-users/{one}/token", 201, {}))["token"]
    assert [each["id"] for each in (await minter.call("GET", "/end-users", 200, key=token))["data"]] == [one]
    await minter.call("DELETE", f"/end-users/{one}/token", 204)
    await minter.call("GET", "/end-users", 401, key=token)
    await minter.call("DELETE", f"/end-users/{one}", 403)
    world, scopes = minter.tenant.test_world, ("end_user_keys:write", "recordings:read")
    poor = await make_key(ports, world, "rk_test", scopes=scopes)
    refused = await minter.call("POST", f"/end-users/{one}/token", 403, {}, poor)
    assert "`transcriptions:read`" in refused["error"]["message"]


async def test_in_a_key_of_one_end_user_it_reaches_that_end_user_alone(minter: Minter) -> None:
    one, other = await minter.person(), await minter.person()
    scopes = ["end_user_keys:write", "recordings:read"]
    theirs = await minter.create(scopes=scopes, end_user_id=one)
    foreign = await minter.create(scopes=["recordings:read"], end_user_id=other)
    implied = await minter.call("POST", "/api-keys", 201, {"scopes": ["recordings:read"]}, theirs["key"])
    assert implied["end_user_id"] == one
    body = {"scopes": ["recordings:read"], "end_user_id": other}
    await minter.call("POST", "/api-keys", 404, body, theirs["key"])
    await minter.call("DELETE", f"/api-keys/{foreign['id']}", 404, key=theirs["key"])
    listed = await minter.call("GET", "/api-keys", 200, key=theirs["key"])
    assert {each["id"] for each in listed["data"]} == {theirs["id"], implied["id"]}


async def test_a_stored_answer_shows_it_no_key_of_the_project(minter: Minter) -> None:
    """All keys of a project share their idempotency keys."""
    headers = {**bearer(minter.tenant.test_key), "Idempotency-Key": "same"}
    body = {"scopes": ["recordings:read"]}
    made = await minter.client.post("/v1/api-keys", json=body, headers=headers)
    assert made.status_code == 201
    again = await minter.client.post("/v1/api-keys", json=body, headers={**headers, **bearer(minter.key)})
    assert again.status_code == 403
    assert made.json()["key"] not in again.text
