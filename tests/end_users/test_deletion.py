"""Deleting an end user: at once gone from every answer, and nothing is tied to them afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from lapel.foundation.ports import Ports
from tests.support.erasing import delete_rows
from tests.support.locks import until_waiting
from tests.support.tenants import Tenant, bearer, make_key

LEFT_OF_PERSON = """
SELECT external_id, name, email, metadata FROM end_users WHERE world_id = $1 AND id = $2
"""
LEDGER = """
SELECT resource_type, state, prefixes FROM erasures WHERE world_id = $1 AND resource_id = $2
"""
KEPT = "SELECT key, sealed_body = '' AS blank FROM idempotency_keys WHERE world_id = $1 ORDER BY key"
TIED = """
SELECT (SELECT count(*) FROM devices WHERE world_id = $1 AND end_user_id = $2)
     + (SELECT count(*) FROM device_tokens t JOIN devices d ON d.world_id = t.world_id AND d.id = t.device_id
        WHERE t.world_id = $1 AND d.end_user_id IS NULL)
     + (SELECT count(*) FROM end_user_tokens WHERE world_id = $1 AND end_user_id = $2)
     + (SELECT count(*) FROM api_keys WHERE world_id = $1 AND end_user_id = $2 AND revoked_at IS NULL)
"""


async def post(client: httpx.AsyncClient, tenant: Tenant, path: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(path, json=body, headers=tenant.headers)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


async def test_deletion_leaves_an_id_and_times_and_nothing_else(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    person = await post(
        client,
        tenant,
        "/v1/end-users",
        external_id="gone",
        name="Jane",
        email="j@example.com",
        metadata={"a": 1},
    )
    path = f"/v1/end-users/{person['id']}"
    own_token = (await post(client, tenant, path + "/token"))["token"]
    scoped = await make_key(ports, tenant.test_world, "rk_test", end_user_id=person["id"])
    device = await post(client, tenant, "/v1/devices", serial_number="PIN0001", model="bota_pin")
    bound = await post(client, tenant, f"/v1/devices/{device['id']}/bind", end_user_id=person["id"])
    assert (await client.get("/v1/devices", headers=bearer(scoped))).status_code == 200
    assert (await client.get("/v1/devices", headers=bearer(own_token))).status_code == 200

    answer = await client.delete(path, headers=tenant.headers)
    assert (answer.status_code, answer.content) == (204, b"")

    for token in (own_token, scoped, bound["device_token"]):
        assert (await client.get("/v1/end-users", headers=bearer(token))).status_code == 401
    for method, suffix in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/token")):
        again = await client.request(method, path + suffix, headers=tenant.headers)
        assert again.status_code == 404
    for query in ("", "?external_id=gone"):
        listed = await client.get(f"/v1/end-users{query}", headers=tenant.headers)
        assert listed.json()["data"] == []
    left = (await client.get(f"/v1/devices/{device['id']}", headers=tenant.headers)).json()
    assert (left["status"], left["end_user_id"], left["bound_at"]) == ("unbound", None, None)
    refused = await client.post(
        f"/v1/devices/{device['id']}/bind", json={"end_user_id": person["id"]}, headers=tenant.headers
    )
    assert refused.status_code == 404
    await delete_rows(ports, tenant.test_world, person["id"])
    async with ports.database.acquire() as connection:
        row = await connection.fetchrow(LEFT_OF_PERSON, tenant.test_world, person["id"])
        assert row is not None
        assert tuple(row) == (None, None, None, "{}")
        ledger = await connection.fetch(LEDGER, tenant.test_world, person["id"])
        assert [(entry[0], entry[2]) for entry in ledger] == [("end_user", [])]
        assert await connection.fetchval(TIED, tenant.test_world, person["id"]) == 0
        types = await connection.fetch(
            "SELECT type FROM events WHERE world_id = $1 AND resource_id = $2 ORDER BY id",
            tenant.test_world,
            device["id"],
        )
        assert [row["type"] for row in types] == ["device.unbound"]


async def test_a_repeated_creation_shows_nothing_of_a_deleted_person(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    headers = {**tenant.headers, "Idempotency-Key": "once"}
    body = {"name": "Jane", "external_id": "u", "metadata": {"a": 1}}
    first = await client.post("/v1/end-users", json=body, headers=headers)
    repeat = await client.post("/v1/end-users", json=body, headers=headers)
    assert repeat.json() == first.json()
    await client.delete(f"/v1/end-users/{first.json()['id']}", headers=tenant.headers)
    repeat = await client.post("/v1/end-users", json=body, headers=headers)
    assert (repeat.status_code, repeat.json()["error"]["code"]) == (404, "not_found")
    other = await client.post("/v1/end-users", json=body | {"name": "Joan"}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")


async def test_no_answer_kept_for_repeats_tells_of_a_deleted_person(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    async def ask(path: str, key: str, headers: dict[str, str] | None = None, /, **body: Any) -> Any:
        sent = {**(headers or tenant.headers), "Idempotency-Key": key}
        answer = await client.post(path, json=body, headers=sent)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    async def kept() -> list[tuple[str, bool]]:
        async with ports.database.acquire() as connection:
            rows = await connection.fetch(KEPT, tenant.test_world)
        return [(row["key"], row["blank"]) for row in rows]

    user = (await ask("/v1/end-users", "a-user", name="Jane"))["id"]
    other = (await ask("/v1/end-users", "b-other", name="Joan"))["id"]
    await ask(f"/v1/end-users/{user}/token", "c-token")
    device = (await ask("/v1/devices", "d-device", serial_number="PIN0001"))["id"]
    bound = await ask(f"/v1/devices/{device}/bind", "e-bound", end_user_id=user)
    await ask("/v1/recordings", "f-recording", end_user_id=user)
    await ask("/v1/recordings", "g-by-device", bearer(bound["device_token"]))
    await ask("/v1/recordings", "h-others", end_user_id=other)
    own = await ask("/v1/api-keys", "i-key", scopes=["recordings:write"], end_user_id=user)
    await ask("/v1/recordings", "j-own", bearer(own["key"]))
    names = ["a-user", "b-other", "c-token", "d-device", "e-bound", "f-recording", "g-by-device", "h-others"]
    assert await kept() == [(each, False) for each in [*names, "i-key", "j-own"]]

    assert (await client.delete(f"/v1/end-users/{user}", headers=tenant.headers)).status_code == 204
    await delete_rows(ports, tenant.test_world, user)
    others = ("b-other", "d-device", "h-others")
    assert await kept() == [(each, each not in others) for each in [*names, "i-key"]]
    again = {**tenant.headers, "Idempotency-Key": "h-others"}
    repeat = await client.post("/v1/recordings", json={"end_user_id": other}, headers=again)
    assert (repeat.status_code, repeat.headers["idempotent-replayed"]) == (201, "true")


async def test_an_answer_that_is_being_kept_meanwhile_is_erased_too(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    person = await post(client, tenant, "/v1/end-users")
    device = await post(client, tenant, "/v1/devices", serial_number="KEPT0009")
    path = f"/v1/devices/{device['id']}"
    await post(client, tenant, f"{path}/bind", end_user_id=person["id"])
    async with ports.database.transaction() as connection:
        await connection.execute(
            "SELECT 1 FROM devices WHERE world_id = $1 AND id = $2 FOR UPDATE",
            tenant.test_world,
            device["id"],
        )
        told = asyncio.create_task(
            client.post(
                f"{path}/commands",
                json={"type": "trigger_upload"},
                headers={**tenant.headers, "Idempotency-Key": "meanwhile"},
            )
        )
        await until_waiting(ports, 1)
        deleted = asyncio.create_task(client.delete(f"/v1/end-users/{person['id']}", headers=tenant.headers))
        await until_waiting(ports, 2)
    assert ((await told).status_code, (await deleted).status_code) == (201, 204)
    await delete_rows(ports, tenant.test_world, person["id"])
    async with ports.database.acquire() as connection:
        rows = await connection.fetch(KEPT, tenant.test_world)
    assert {row["key"]: row["blank"] for row in rows} == {"meanwhile": True}


UNBOUND = """
SELECT count(*) AS events, count(DISTINCT cmin::text) AS statements FROM events
WHERE world_id = $1 AND type = 'device.unbound'
"""


async def test_the_unbinding_of_all_devices_is_told_in_one_statement(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    person = await post(client, tenant, "/v1/end-users")
    for number in range(5):
        device = await post(client, tenant, "/v1/devices", serial_number=f"ALL{number:04}")
        await post(client, tenant, f"/v1/devices/{device['id']}/bind", end_user_id=person["id"])
    await client.delete(f"/v1/end-users/{person['id']}", headers=tenant.headers)
    async with ports.database.acquire() as connection:
        row = await connection.fetchrow(UNBOUND, tenant.test_world)
    assert row is not None
    assert tuple(row) == (5, 1)


# An answer that is being kept under this key waits until whoever wrote this has come to the end.
HOLD_KEY = """
INSERT INTO idempotency_keys (world_id, principal, key, fingerprint, status, sealed_body, created_at)
VALUES ($1, 'keys', 'meanwhile', '', 200, '', now())
"""
LET_GO = "DELETE FROM idempotency_keys WHERE world_id = $1 AND key = 'meanwhile'"


@pytest.mark.parametrize("what", ["command", "device"])
async def test_an_answer_of_what_was_there_before_is_erased_too(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports, what: str
) -> None:
    """A repeat that makes nothing new holds what it tells of until its answer is kept.

    The deletion waits for the device; of a command, the job does.
    """
    person = await post(client, tenant, "/v1/end-users")

    async def delete() -> int:
        answer = await client.delete(f"/v1/end-users/{person['id']}", headers=tenant.headers)
        await delete_rows(ports, tenant.test_world, person["id"])
        return answer.status_code

    registration = {"serial_number": "KEPT0010"}
    device = await post(client, tenant, "/v1/devices", **registration)
    path = f"/v1/devices/{device['id']}"
    await post(client, tenant, f"{path}/bind", end_user_id=person["id"])
    again, body = "/v1/devices", registration
    if what == "command":  # one of a binding that has ended
        again, body = f"{path}/commands", {"type": "trigger_upload", "idempotency_key": "before"}
        await post(client, tenant, again, **body)
        await post(client, tenant, f"{path}/unbind")
    async with ports.database.transaction() as connection:
        await connection.execute(HOLD_KEY, tenant.test_world)
        headers = {**tenant.headers, "Idempotency-Key": "meanwhile"}
        repeated = asyncio.create_task(client.post(again, json=body, headers=headers))
        await until_waiting(ports, 1)
        deleted = asyncio.create_task(delete())
        await until_waiting(ports, 2)
        await connection.execute(LET_GO, tenant.test_world)
    answer = await repeated
    assert (answer.status_code, answer.json()["end_user_id"]) == (200, person["id"])
    assert await deleted == 204
    async with ports.database.acquire() as connection:
        rows = await connection.fetch(KEPT, tenant.test_world)
    assert {row["key"]: row["blank"] for row in rows} == {"meanwhile": True}


async def test_of_many_deletions_one_happens(client: httpx.AsyncClient, tenant: Tenant) -> None:
    person = await post(client, tenant, "/v1/end-users")
    answers = await asyncio.gather(
        *(client.delete(f"/v1/end-users/{person['id']}", headers=tenant.headers) for _ in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [204] + [404] * 5


async def test_whatever_is_tied_at_the_same_moment_is_tied_to_nobody_afterwards(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    for number in range(12):
        person = await post(client, tenant, "/v1/end-users")
        device = await post(client, tenant, "/v1/devices", serial_number=f"PIN{number:04}")
        key = {"scopes": ["devices:read"], "end_user_id": person["id"]}
        calls = [
            client.post(
                f"/v1/devices/{device['id']}/bind",
                json={"end_user_id": person["id"]},
                headers=tenant.headers,
            ),
            client.post("/v1/api-keys", json=key, headers=tenant.headers),
            client.post(f"/v1/end-users/{person['id']}/token", headers=tenant.headers),
        ]
        calls.insert(number % 4, client.delete(f"/v1/end-users/{person['id']}", headers=tenant.headers))
        answers = await asyncio.gather(*calls)
        assert {answer.status_code for answer in answers} <= {200, 201, 204, 404}
        async with ports.database.acquire() as connection:
            assert await connection.fetchval(TIED, tenant.test_world, person["id"]) == 0
        for answer in answers:
            body = answer.json() if answer.content else {}
            for secret in ("device_token", "key", "token"):
                if secret in body:
                    read = await client.get("/v1/end-users", headers=bearer(body[secret]))
                    assert read.status_code == 401, secret
