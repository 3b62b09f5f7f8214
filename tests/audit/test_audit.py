"""The audit log: who changed what, from what to what; read by page and filter, in one world only."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from lapel.foundation.database import audit
from lapel.foundation.ports import Ports
from tests.support.tenants import Tenant, bearer, make_key

KEY_ID = "SELECT id FROM api_keys WHERE world_id = $1 AND secret_hash = $2"


class Log:
    """A project's configuration and what the log says of it."""

    def __init__(self, client: httpx.AsyncClient, tenant: Tenant) -> None:
        self.client = client
        self.tenant = tenant

    async def ask(self, method: str, path: str, body: Any = None, *, status: int = 200) -> httpx.Response:
        answer = await self.client.request(method, path, json=body, headers=self.tenant.headers)
        assert answer.status_code == status, answer.text
        return answer

    async def entries(self, **query: Any) -> list[dict[str, Any]]:
        answer = await self.client.get("/v1/audit-log", params=query, headers=self.tenant.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


@pytest.fixture
def log(client: httpx.AsyncClient, tenant: Tenant) -> Log:
    return Log(client, tenant)


async def test_every_write_says_who_before_after_and_in_which_request(log: Log, ports: Ports) -> None:
    project, world = log.tenant.project_id, log.tenant.test_world
    end_user = (await log.ask("POST", "/v1/end-users", {}, status=201)).json()["id"]
    serial = {"serial_number": "AUDIT001"}
    device = (await log.ask("POST", "/v1/devices", serial, status=201)).json()["id"]
    async with ports.database.acquire() as connection:
        key_id = await connection.fetchval(KEY_ID, world, ports.hasher.hash(log.tenant.test_key))
    places = {
        ("project", project): "/v1/config",
        ("end_user", end_user): f"/v1/end-users/{end_user}/config",
        ("device", device): f"/v1/devices/{device}/config",
    }
    for (kind, subject), path in places.items():
        first = await log.ask("PATCH", f"{path}/upload", {"streaming_chunk_kb": 64})
        second = await log.ask("PATCH", f"{path}/upload", {"streaming_chunk_kb": None, "allow_roaming": True})
        third = await log.ask("DELETE", f"{path}/upload", status=204)
        told = [each for each in await log.entries(resource_type=kind, resource_id=subject) if each["before"]]
        one, two = {"upload": {"streaming_chunk_kb": 64}}, {"upload": {"allow_roaming": True}}
        nothing: dict[str, Any] = {"upload": None}
        expected = [
            ("config.cleared", two, nothing, third),
            ("config.updated", one, two, second),
            ("config.updated", nothing, one, first),
        ]
        assert [(each["action"], each["before"], each["after"], each["request_id"]) for each in told] == [
            (action, before, after, answer.headers["x-request-id"])
            for action, before, after, answer in expected
        ]
        for each in told:
            assert each["actor"] == {"kind": "key", "id": key_id}
            assert (each["resource_type"], each["resource_id"]) == (kind, subject)
            assert each["project_id"] == project
            assert each["id"].startswith("aud_")
    put = await log.ask("PUT", f"/v1/projects/{project}/config/ota", {"auto_update": {"enabled": True}})
    (last, *_) = await log.entries()
    assert last["request_id"] == put.headers["x-request-id"]
    assert (last["action"], last["actor"]) == ("config.updated", {"kind": "key", "id": key_id})
    assert (last["resource_type"], last["resource_id"]) == ("project", project)
    assert last["before"] == {"ota": None}
    assert last["after"] == {"ota": {"auto_update": {"enabled": True}}}


async def test_of_a_deleted_end_user_only_the_fact_stays(log: Log) -> None:
    ids = [(await log.ask("POST", "/v1/end-users", {}, status=201)).json()["id"] for _ in range(2)]
    for each in ids:
        change = {"off_peak_hours": {"timezone": "Europe/Zurich"}}
        await log.ask("PATCH", f"/v1/end-users/{each}/config/upload", change)
    before = await log.entries()
    await log.ask("DELETE", f"/v1/end-users/{ids[1]}", status=204)
    kept, other = await log.entries(resource_type="end_user", action="config.updated")
    assert before[0]["resource_id"] == ids[1]
    erased = {"before": None, "after": None, "address": None, "salt": None}
    assert kept == {**before[0], **erased}
    assert other == before[1]
    refused = await log.ask("GET", "/v1/audit-log?action=nix", status=400)
    assert refused.json()["error"]["param"] == "action"


async def test_what_changes_nothing_is_not_written_down(log: Log) -> None:
    await log.ask("PATCH", "/v1/config/upload", {})
    await log.ask("PATCH", "/v1/config/upload", {"streaming_chunk_kb": None})
    await log.ask("PATCH", "/v1/config/upload", {"streaming_chunk_kb": 1}, status=400)
    await log.ask("DELETE", "/v1/config/upload", status=204)
    assert await log.entries() == []
    await log.ask("PATCH", "/v1/config/upload", {"streaming_chunk_kb": 64})
    await log.ask("PATCH", "/v1/config/upload", {"streaming_chunk_kb": 64})
    assert len(await log.entries()) == 1


async def test_it_is_walked_by_page_and_filtered_by_type_and_resource(log: Log, ports: Ports) -> None:
    async with ports.database.transaction() as connection:
        for number in range(7):
            change = audit.Change(
                action="thing.changed",
                resource_type="thing" if number % 2 else "other",
                resource_id=f"thing_{number % 3}",
                before=number,
                after=None,
            )
            await audit.record(
                connection,
                ports.ids,
                ports.clock.now(),
                worlds=[log.tenant.test_world],
                actor=None,
                change=change,
                about=None,
            )

    async def walk(**query: Any) -> list[int]:
        seen: list[int] = []
        cursor = ""
        while True:
            params = {**query, "limit": 2, **({"cursor": cursor} if cursor else {})}
            page = (await log.client.get("/v1/audit-log", params=params, headers=log.tenant.headers)).json()
            assert len(page["data"]) <= 2
            seen += [each["before"] for each in page["data"]]
            if not page["has_more"]:
                return seen
            cursor = page["next_cursor"]

    assert await walk() == [6, 5, 4, 3, 2, 1, 0]
    assert await walk(resource_type="thing") == [5, 3, 1]
    assert await walk(resource_id="thing_1") == [4, 1]
    assert await walk(resource_id="thing_1", resource_type="thing") == [1]
    assert await walk(resource_type="nothing") == []
    assert await walk(action="nothing.changed") == []
    for name, misspelt in (("resource_type", "end-user"), ("action", "end-user.updated")):
        refused = await log.client.get("/v1/audit-log", params={name: misspelt}, headers=log.tenant.headers)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, name), refused.text


async def test_each_world_has_its_own(
    log: Log, client: httpx.AsyncClient, stranger: Tenant, ports: Ports
) -> None:
    await log.ask("PATCH", "/v1/config/upload", {"streaming_chunk_kb": 64})
    assert len(await log.entries()) == 1
    for token in (log.tenant.live_key, stranger.test_key, stranger.live_key):
        answer = await client.get("/v1/audit-log", headers=bearer(token))
        assert answer.json()["data"] == []
    scopeless = await make_key(ports, log.tenant.test_world, "rk_test", scopes=("config:read",))
    assert (await client.get("/v1/audit-log", headers=bearer(scopeless))).status_code == 403


async def test_a_change_that_does_not_commit_leaves_no_entry(log: Log, ports: Ports) -> None:
    change = audit.Change(
        action="thing.changed", resource_type="thing", resource_id="thing_1", before=None, after=1
    )

    async def write_and_fail() -> None:
        async with ports.database.transaction() as connection:
            worlds, now = [log.tenant.test_world], ports.clock.now()
            await audit.record(
                connection, ports.ids, now, worlds=worlds, actor=None, change=change, about=None
            )
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await write_and_fail()
    assert await log.entries() == []
