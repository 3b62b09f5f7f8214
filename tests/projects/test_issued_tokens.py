"""End-user tokens and upload tokens: they come from a key, and end no later than they should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from lapel.app import open_services
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.slices.projects.operator import OperatorKeys
from lapel.slices.projects.service import Keys
from tests.support.client import api_client
from tests.support.locks import until_waiting
from tests.support.running import Running, running
from tests.support.tenants import Tenant, bearer, make_key, make_tenant

ISSUING = (
    "end_users:write",
    "recordings:write",
    "recordings:read",
    "transcriptions:read",
    "summaries:read",
    "ask:read",
    "end_users:read",
    "devices:read",
    "keys:write",
)


@dataclass
class Caller:
    """The holder of a key, and what it issues."""

    client: httpx.AsyncClient
    key: str
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.headers = bearer(self.key)

    async def post(
        self, path: str, body: dict[str, Any], expect: int, token: str | None = None, **headers: str
    ) -> dict[str, Any]:
        """The answer to a POST with the key, or with another token."""
        sent = {**(self.headers if token is None else bearer(token)), **headers}
        answer = await self.client.post(path, json=body, headers=sent)
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def end_user(self) -> str:
        return (await self.post("/v1/end-users", {}, 201))["id"]

    async def end_user_token(self, end_user_id: str, **body: Any) -> dict[str, Any]:
        return await self.post(f"/v1/end-users/{end_user_id}/token", body, 201)

    async def recording(self, end_user_id: str) -> str:
        return (await self.post("/v1/recordings", {"end_user_id": end_user_id}, 201))["id"]

    async def upload_token(self, recording_id: str, token: str | None = None, **headers: str) -> str:
        path = f"/v1/recordings/{recording_id}/upload-url"
        return (await self.post(path, {}, 200, token, **headers))["upload_token"]

    async def reads(self, token: str) -> int:
        """What an end-user token is answered."""
        return (await self.client.get("/v1/end-users", headers=bearer(token))).status_code

    async def uploads(self, recording_id: str, token: str) -> int:
        """What an upload token is answered."""
        path = f"/v1/recordings/{recording_id}/upload-url"
        return (await self.client.post(path, json={}, headers=bearer(token))).status_code

    async def revoke(self, key_id: str, token: str, query: str = "") -> None:
        path = f"/v1/api-keys/{key_id}{query}"
        assert (await self.client.delete(path, headers=bearer(token))).status_code == 204


async def issuer(admin: Caller) -> tuple[Caller, str]:
    """The holder of a new key that may issue everything, and the key's id."""
    made = await admin.post("/v1/api-keys", {"scopes": list(ISSUING)}, 201)
    return Caller(admin.client, made["key"]), made["id"]


@pytest.fixture
async def timed(fresh_database: str, tmp_path: Path) -> AsyncGenerator[tuple[Running, ManualClock]]:
    """A server whose time the test moves."""
    clock = ManualClock(datetime.now(UTC))
    async with running(tmp_path, fresh_database, clock=clock) as live:
        yield live, clock


def ahead(clock: ManualClock, **by: int) -> datetime:
    return clock.now() + timedelta(**by)


async def test_issued_tokens_end_in_time(timed: tuple[Running, ManualClock]) -> None:
    live, clock = timed
    tenant = await make_tenant(live.ports)
    ends = ahead(clock, hours=30)
    key = await make_key(live.ports, tenant.test_world, "rk_test", scopes=ISSUING, expires_at=ends)
    async with api_client(live.url) as client:
        caller = Caller(client, key)
        people = [await caller.end_user() for _ in range(2)]
        as_the_key = await caller.end_user_token(people[0])
        assert datetime.fromisoformat(as_the_key["expires_at"]) <= ends
        sooner = await caller.end_user_token(people[1], expires_at=ahead(clock, hours=1).isoformat())

        recording = await caller.recording(people[0])
        first = latest = await caller.upload_token(recording)
        clock.advance(timedelta(hours=1))
        assert [await caller.reads(each["token"]) for each in (as_the_key, sooner)] == [200, 401]
        for number in range(3):  # one after the other, and replayed
            latest = await caller.upload_token(recording, latest)
            latest = await caller.upload_token(recording, latest, **{"Idempotency-Key": "again"})
            clock.advance(timedelta(hours=6))
            assert await caller.uploads(recording, latest) == 200, number
        another = await caller.upload_token(recording)  # asked for with the key, for another 24 hours
        clock.advance(timedelta(hours=5) - timedelta(seconds=1))
        assert [await caller.uploads(recording, each) for each in (first, latest)] == [200, 200]
        clock.advance(timedelta(seconds=1))
        assert [await caller.uploads(recording, each) for each in (first, latest)] == [401, 401]
        assert await caller.uploads(recording, another) == 200
        assert await caller.reads(as_the_key["token"]) == 200
        clock.advance(timedelta(hours=6))
        assert await caller.reads(as_the_key["token"]) == 401


async def test_an_end_user_token_never_outlives_the_key_that_issues_it(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant
) -> None:
    now = datetime.now(UTC)
    ends = now + timedelta(hours=1)
    key = await make_key(ports, tenant.test_world, "rk_test", scopes=ISSUING, expires_at=ends)
    lasting, caller = Caller(client, tenant.test_key), Caller(client, key)
    person = await caller.end_user()
    path = f"/v1/end-users/{person}/token"
    later, past = (ends + timedelta(seconds=1)).isoformat(), (now - timedelta(seconds=1)).isoformat()
    await caller.post(path, {"expires_at": later}, 403)
    await caller.post(path, {"expires_at": past}, 400)
    await caller.post(path, {"expires_at": "soon"}, 400)
    # Nor by a repeat of what another key asked for.
    again = {"Idempotency-Key": f"issue-{person}"}
    await caller.post(path, {"expires_at": None}, 403)
    for_ever = await lasting.post(path, {"expires_at": None}, 201, None, **again)
    assert for_ever["expires_at"] is None
    await caller.post(path, {"expires_at": None}, 403, None, **again)
    assert await lasting.post(path, {"expires_at": None}, 201, None, **again) == for_ever


async def test_an_end_user_token_ends_after_thirty_days_unless_asked(
    timed: tuple[Running, ManualClock],
) -> None:
    live, clock = timed
    tenant = await make_tenant(live.ports)
    ends = ahead(clock, days=40)
    key = await make_key(live.ports, tenant.test_world, "rk_test", scopes=ISSUING, expires_at=ends)
    async with api_client(live.url) as client:
        lasting, caller = Caller(client, tenant.test_key), Caller(client, key)
        people = [await lasting.end_user() for _ in range(3)]
        usual = await lasting.end_user_token(people[0])
        for_ever = await lasting.end_user_token(people[1], expires_at=None)
        of_the_key = await caller.end_user_token(people[2])
        month = clock.now() + timedelta(days=30)
        for each in (usual, of_the_key):
            assert abs(datetime.fromisoformat(each["expires_at"]) - month) < timedelta(seconds=1)
        tokens = [each["token"] for each in (usual, for_ever, of_the_key)]
        clock.advance(timedelta(days=30) - timedelta(seconds=1))
        assert [await lasting.reads(each) for each in tokens] == [200, 200, 200]
        late = await caller.end_user_token(people[2])
        clock.advance(timedelta(seconds=1))
        assert [await lasting.reads(each) for each in (*tokens, late["token"])] == [401, 200, 401, 200]
        # The key ends ten days later, and its token with it.
        assert abs(datetime.fromisoformat(late["expires_at"]) - ends) < timedelta(seconds=1)
        clock.advance(timedelta(days=3650))
        assert await lasting.reads(for_ever["token"]) == 200


async def test_the_operator_sets_how_long_a_token_lasts(fresh_database: str, tmp_path: Path) -> None:
    clock = ManualClock(datetime.now(UTC))
    for days, expected in (("2", ahead(clock, days=2)), ("0", None)):
        settings = {"LAPEL_END_USER_TOKEN_DAYS": days}
        async with running(tmp_path / days, fresh_database, clock=clock, **settings) as live:
            tenant = await make_tenant(live.ports)
            async with api_client(live.url) as client:
                caller = Caller(client, tenant.test_key)
                ends = (await caller.end_user_token(await caller.end_user()))["expires_at"]
        if expected is None:
            assert ends is None
        else:
            assert abs(datetime.fromisoformat(ends) - expected) < timedelta(seconds=1)


@pytest.mark.parametrize("query", ["", "?issued=false"])
async def test_what_a_key_issued_outlasts_its_revocation_unless_asked(
    client: httpx.AsyncClient, tenant: Tenant, query: str
) -> None:
    admin = Caller(client, tenant.test_key)
    caller, key_id = await issuer(admin)
    person = await caller.end_user()
    recording = await caller.recording(person)
    read, upload = (await caller.end_user_token(person))["token"], await caller.upload_token(recording)
    await admin.revoke(key_id, admin.key, query)
    assert (await caller.reads(read), await caller.uploads(recording, upload)) == (200, 200)
    # It may still be asked for afterwards.
    await admin.revoke(key_id, admin.key, "?issued=true")
    assert (await caller.reads(read), await caller.uploads(recording, upload)) == (401, 401)


@pytest.mark.parametrize("by", ["api", "operator"])
async def test_with_issued_all_that_the_key_issued_is_revoked_and_nothing_else(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant, by: str
) -> None:
    admin = Caller(client, tenant.test_key)
    caller, key_id = await issuer(admin)
    people = [await admin.end_user() for _ in range(3)]
    recording = await admin.recording(people[0])
    own = await caller.upload_token(recording)
    derived = await caller.upload_token(recording, own)
    kept = await admin.upload_token(recording)
    tokens = [
        (await each.end_user_token(person))["token"]
        for each, person in zip((caller, caller, admin), people, strict=True)
    ]
    taken_over = (await admin.end_user_token(people[1]))["token"]
    if by == "api":
        await admin.revoke(key_id, admin.key, "?issued=true")
    else:
        await OperatorKeys(ports).revoke(key_id, issued=open_services(ports)[Keys].on_revoke_issued)
    assert [await admin.reads(each) for each in (*tokens, taken_over)] == [401, 401, 200, 200]
    assert [await admin.uploads(recording, each) for each in (own, derived, kept)] == [401, 401, 200]
    # The end user may be given a token anew.
    assert await admin.reads((await admin.end_user_token(people[0]))["token"]) == 200


async def test_a_rotation_keeps_what_the_key_issued(client: httpx.AsyncClient, tenant: Tenant) -> None:
    admin = Caller(client, tenant.test_key)
    caller, key_id = await issuer(admin)
    person = await caller.end_user()
    token = (await caller.end_user_token(person))["token"]
    await admin.post(f"/v1/api-keys/{key_id}/rotate", {"overlap_seconds": 0}, 201)
    assert await admin.reads(caller.key) == 401
    assert await admin.reads(token) == 200


async def test_what_is_issued_while_the_key_is_revoked_is_revoked_with_it(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant
) -> None:
    admin = Caller(client, tenant.test_key)
    caller, key_id = await issuer(admin)
    person = await caller.end_user()
    recording = await caller.recording(person)
    async with ports.database.transaction() as connection:
        await connection.execute(
            "SELECT 1 FROM recordings WHERE world_id = $1 AND id = $2 FOR UPDATE",
            tenant.test_world,
            recording,
        )
        asking = asyncio.create_task(caller.upload_token(recording))
        await until_waiting(ports, 1)
        await admin.revoke(key_id, admin.key, "?issued=true")
    assert await caller.uploads(recording, await asking) == 401


async def test_a_key_gives_no_longer_life_by_rotating_one_whose_successor_ended(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant
) -> None:
    admin = Caller(client, tenant.test_key)
    soon = datetime.now(UTC) + timedelta(days=2)
    caller = Caller(
        client, await make_key(ports, tenant.test_world, "rk_test", scopes=ISSUING, expires_at=soon)
    )
    lasting = await admin.post("/v1/api-keys", {"scopes": ["keys:write"]}, 201)
    successor = await admin.post(f"/v1/api-keys/{lasting['id']}/rotate", {}, 201)
    await caller.revoke(successor["id"], caller.key)
    # What is left of it ends before the caller does; what would take its place never ends.
    await caller.post(f"/v1/api-keys/{lasting['id']}/rotate", {}, 403)
    assert (await admin.post(f"/v1/api-keys/{lasting['id']}/rotate", {}, 201))["expires_at"] is None
