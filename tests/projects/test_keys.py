"""API keys over HTTP: what a key may hand on, and how keys end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from lapel.foundation.core.errors import Unauthorized, Unavailable
from lapel.foundation.database.pool import Database
from lapel.foundation.identity.tokens import hint, new_token
from lapel.foundation.ports import Ports
from lapel.slices.projects import queries
from tests.support.declared import TOKEN_PREFIXES, authenticator
from tests.support.locks import until_waiting
from tests.support.tenants import Tenant, bearer, make_key

FIELDS = {
    "id",
    "project_id",
    "mode",
    "kind",
    "name",
    "hint",
    "scopes",
    "end_user_id",
    "expires_at",
    "last_used_at",
    "revoked_at",
    "rotated_to",
    "created_at",
}


def later(**by: int) -> str:
    return (datetime.now(UTC) + timedelta(**by)).isoformat()


async def create(client: httpx.AsyncClient, key: str, **body: Any) -> dict[str, Any]:
    answer = await client.post("/v1/api-keys", json=body, headers=bearer(key))
    assert answer.status_code == 201, answer.text
    return answer.json()


async def listed(client: httpx.AsyncClient, key: str) -> dict[str, dict[str, Any]]:
    answer = await client.get("/v1/api-keys", params={"limit": 100}, headers=bearer(key))
    assert answer.status_code == 200, answer.text
    return {each["id"]: each for each in answer.json()["data"]}


async def status(client: httpx.AsyncClient, key: str) -> int:
    """What a key gets where `devices:read` is needed."""
    return (await client.get("/v1/devices", headers=bearer(key))).status_code


async def test_a_restricted_key_is_shown_once_and_does_what_it_may(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    made = await create(
        client, tenant.test_key, scopes=["keys:write", "devices:read", "devices:read"], name="ingest"
    )
    assert set(made) == FIELDS | {"key"}
    assert made["key"].startswith("rk_test_")
    assert (made["kind"], made["mode"], made["name"]) == ("restricted", "test", "ingest")
    assert made["scopes"] == ["devices:read", "keys:write"]
    assert made["project_id"] == tenant.project_id
    nulls = ("end_user_id", "expires_at", "last_used_at", "revoked_at", "rotated_to")
    assert all(made[name] is None for name in nulls)
    assert await status(client, made["key"]) == 200
    refused = await client.get("/v1/end-users", headers=bearer(made["key"]))
    assert refused.status_code == 403
    assert "end_users:read" in refused.json()["error"]["message"]

    answer = await client.get("/v1/api-keys", headers=tenant.headers)
    assert made["key"] not in answer.text
    shown = (await listed(client, tenant.test_key))[made["id"]]
    assert set(shown) == FIELDS
    assert shown["hint"] == hint(made["key"])


EVERY_SCOPE = (
    "recordings:read recordings:write transcriptions:read transcriptions:write summaries:read "
    "summaries:write ask:read ask:write end_users:read end_users:write devices:read devices:write "
    "config:read config:write firmware:write webhooks:read webhooks:write keys:write audit:read "
    "end_user_keys:write"
)


async def test_a_secret_key_has_every_scope(client: httpx.AsyncClient, tenant: Tenant) -> None:
    made = await create(client, tenant.live_key, kind="secret")
    assert made["key"].startswith("sk_live_")
    assert made["scopes"] == EVERY_SCOPE.split()
    assert await status(client, made["key"]) == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes[0]"),
        ({"scopes": "devices:read"}, "scopes"),
        ({"kind": "secret", "scopes": ["devices:read"]}, "scopes"),
        ({"kind": "root"}, "kind"),
        ({"scopes": ["devices:read"], "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"scopes": ["devices:read"], "expires_at": "2999-01-01T00:00:00"}, "expires_at"),
        ({"scopes": ["devices:read"], "name": "n" * 129}, "name"),
        ({"kind": "secret", "end_user_id": "eu_x"}, "end_user_id"),
        ({"scopes": ["devices:read"], "end_user_id": ""}, "end_user_id"),
    ],
)
async def test_a_wrong_value_is_named(
    client: httpx.AsyncClient, tenant: Tenant, body: dict[str, Any], param: str
) -> None:
    answer = await client.post("/v1/api-keys", json=body, headers=tenant.headers)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


async def test_a_key_hands_on_no_more_than_it_has(client: httpx.AsyncClient, tenant: Tenant) -> None:
    small = await create(client, tenant.test_key, scopes=["keys:write", "recordings:read"])
    child = await create(client, small["key"], scopes=["recordings:read"])
    assert child["scopes"] == ["recordings:read"]
    # `recordings:read` also grants Ask.
    assert (await create(client, small["key"], scopes=["ask:read"]))["scopes"] == ["ask:read"]
    for body in ({"scopes": ["recordings:read", "devices:read"]}, {"kind": "secret"}):
        answer = await client.post("/v1/api-keys", json=body, headers=bearer(small["key"]))
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "forbidden"
    assert (
        "devices:read"
        in (
            await client.post("/v1/api-keys", json={"scopes": ["devices:read"]}, headers=bearer(small["key"]))
        ).json()["error"]["message"]
    )
    assert (await client.get("/v1/api-keys", headers=bearer(child["key"]))).status_code == 403


async def test_a_key_ends_no_key_that_may_do_more(client: httpx.AsyncClient, tenant: Tenant) -> None:
    small = await create(client, tenant.test_key, scopes=["keys:write"])
    larger = await create(client, tenant.test_key, scopes=["keys:write", "devices:read"])
    secret = await create(client, tenant.test_key, kind="secret")
    for target in (larger, secret):
        for method, path in (
            ("DELETE", f"/v1/api-keys/{target['id']}"),
            ("POST", f"/v1/api-keys/{target['id']}/rotate"),
        ):
            answer = await client.request(method, path, headers=bearer(small["key"]))
            assert answer.status_code == 403, (method, path)
        assert await status(client, target["key"]) == 200


async def test_a_key_hands_on_no_longer_life_than_its_own(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    short = await create(client, tenant.test_key, scopes=["keys:write"], expires_at=later(hours=2))
    child = await create(client, short["key"], scopes=["keys:write"])
    assert child["expires_at"] == short["expires_at"]
    await create(client, short["key"], scopes=["keys:write"], expires_at=later(hours=1))
    answer = await client.post(
        "/v1/api-keys",
        json={"scopes": ["keys:write"], "expires_at": later(hours=3)},
        headers=bearer(short["key"]),
    )
    assert answer.status_code == 403
    eternal = await create(client, tenant.test_key, scopes=["keys:write"])
    answer = await client.post(f"/v1/api-keys/{eternal['id']}/rotate", headers=bearer(short["key"]))
    assert answer.status_code == 403
    # Its own place it may pass on.
    own = await client.post(f"/v1/api-keys/{short['id']}/rotate", headers=bearer(short["key"]))
    assert own.status_code == 201
    assert own.json()["expires_at"] == short["expires_at"]


async def test_an_expired_key_is_refused(client: httpx.AsyncClient, tenant: Tenant, ports: Ports) -> None:
    expired = await make_key(
        ports, tenant.test_world, "rk_test", expires_at=ports.clock.now() - timedelta(seconds=1)
    )
    assert await status(client, expired) == 401


async def test_a_wrong_checksum_is_refused_without_a_query(ports: Ports) -> None:
    """Without a database a right checksum is 503, because its token is looked up, and a wrong one 401."""
    away = Database("postgresql://127.0.0.1/never-opened")
    authenticate = authenticator(replace(ports, database=away))
    for prefix in TOKEN_PREFIXES:
        token = new_token(prefix)
        with pytest.raises(Unavailable):
            await authenticate(f"Bearer {token}".encode())
        wrong = token[:-1] + ("1" if token[-1] == "0" else "0")
        with pytest.raises(Unauthorized):
            await authenticate(f"Bearer {wrong}".encode())


async def test_keys_live_in_one_world(client: httpx.AsyncClient, tenant: Tenant, stranger: Tenant) -> None:
    made = await create(client, tenant.test_key, scopes=["devices:read"])
    for other in (tenant.live_key, stranger.test_key):
        assert made["id"] not in await listed(client, other)
        for method, suffix in (("DELETE", ""), ("POST", "/rotate")):
            answer = await client.request(method, f"/v1/api-keys/{made['id']}{suffix}", headers=bearer(other))
            assert answer.status_code == 404
    assert await status(client, made["key"]) == 200


async def test_revoking_is_at_once_and_again_does_nothing(client: httpx.AsyncClient, tenant: Tenant) -> None:
    made = await create(client, tenant.test_key, scopes=["devices:read"])
    assert await status(client, made["key"]) == 200  # and now it is cached
    path = f"/v1/api-keys/{made['id']}"
    answer = await client.delete(path, headers=tenant.headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert await status(client, made["key"]) == 401
    revoked_at = (await listed(client, tenant.test_key))[made["id"]]["revoked_at"]
    assert revoked_at is not None
    assert (await client.delete(path, headers=tenant.headers)).status_code == 204
    assert (await listed(client, tenant.test_key))[made["id"]]["revoked_at"] == revoked_at
    assert (await client.delete("/v1/api-keys/key_none", headers=tenant.headers)).status_code == 404


async def test_a_key_may_end_itself(client: httpx.AsyncClient, tenant: Tenant) -> None:
    made = await create(client, tenant.test_key, scopes=["keys:write"])
    path = f"/v1/api-keys/{made['id']}"
    assert (await client.delete(path, headers=bearer(made["key"]))).status_code == 204
    assert (await client.delete(path, headers=bearer(made["key"]))).status_code == 401


async def test_keys_that_end_each_other_do_not_lock_each_other(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    for _ in range(5):
        pair = [await create(client, tenant.test_key, scopes=["keys:write"]) for _ in range(2)]
        answers = await asyncio.gather(
            *(
                client.delete(f"/v1/api-keys/{target['id']}", headers=bearer(caller["key"]))
                for caller, target in zip(pair, pair[::-1], strict=True)
            )
        )
        assert {answer.status_code for answer in answers} <= {204, 401}
        assert 204 in {answer.status_code for answer in answers}


async def test_a_key_created_while_its_maker_is_revoked_is_seen_or_refused(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    for _ in range(6):
        maker = await create(client, tenant.test_key, scopes=["keys:write"])

        async def end_and_look(maker: dict[str, Any] = maker) -> dict[str, dict[str, Any]]:
            answer = await client.delete(f"/v1/api-keys/{maker['id']}", headers=tenant.headers)
            assert answer.status_code == 204
            return await listed(client, tenant.test_key)

        made, seen = await asyncio.gather(
            client.post("/v1/api-keys", json={"scopes": ["keys:write"]}, headers=bearer(maker["key"])),
            end_and_look(),
        )
        assert made.status_code in (201, 401)
        if made.status_code == 201:
            assert made.json()["id"] in seen


async def test_rotation_lets_both_work_for_a_while(client: httpx.AsyncClient, tenant: Tenant) -> None:
    old = await create(client, tenant.test_key, scopes=["devices:read"], name="ingest")
    answer = await client.post(f"/v1/api-keys/{old['id']}/rotate", headers=tenant.headers)
    assert answer.status_code == 201
    new = answer.json()
    assert set(new) == FIELDS | {"key", "replaced_id", "replaced_works_until"}
    assert new["replaced_id"] == old["id"]
    assert (new["name"], new["scopes"], new["expires_at"]) == ("ingest", ["devices:read"], None)
    assert await status(client, old["key"]) == await status(client, new["key"]) == 200
    shown = (await listed(client, tenant.test_key))[old["id"]]
    assert shown["rotated_to"] == new["id"]
    assert shown["expires_at"] == new["replaced_works_until"]
    ends = datetime.fromisoformat(new["replaced_works_until"]) - datetime.fromisoformat(new["created_at"])
    assert round(ends / timedelta(seconds=1)) == 86_400  # both times are cut to the millisecond

    again = await client.post(f"/v1/api-keys/{old['id']}/rotate", headers=tenant.headers)
    assert again.status_code == 409
    assert again.json()["error"]["resource_id"] == new["id"]
    # Who lost the new key ends it, and rotates again.
    await client.delete(f"/v1/api-keys/{new['id']}", headers=tenant.headers)
    third = await client.post(f"/v1/api-keys/{old['id']}/rotate", headers=tenant.headers)
    assert third.status_code == 201
    assert third.json()["expires_at"] is None
    assert (await client.post(f"/v1/api-keys/{new['id']}/rotate", headers=tenant.headers)).status_code == 409


async def test_rotation_without_overlap_ends_the_old_key_at_once(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    old = await create(client, tenant.test_key, kind="secret", expires_at=later(hours=1))
    assert await status(client, old["key"]) == 200  # and now it is cached
    answer = await client.post(
        f"/v1/api-keys/{old['id']}/rotate", json={"overlap_seconds": 0}, headers=bearer(old["key"])
    )
    assert answer.status_code == 201
    assert answer.json()["kind"] == "secret"
    assert answer.json()["expires_at"] == old["expires_at"]
    assert await status(client, old["key"]) == 401
    assert await status(client, answer.json()["key"]) == 200


async def test_a_lost_rotation_comes_again_with_its_idempotency_key(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    old = await create(client, tenant.test_key, scopes=["devices:read"])
    path, headers = f"/v1/api-keys/{old['id']}/rotate", {**tenant.headers, "Idempotency-Key": "rotate"}
    first = await client.post(path, headers=headers)
    again = await client.post(path, headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()


@pytest.mark.parametrize("overlap", [-1, 2_592_001, "1", None])
async def test_an_impossible_overlap_is_refused(
    client: httpx.AsyncClient, tenant: Tenant, overlap: object
) -> None:
    made = await create(client, tenant.test_key, scopes=["devices:read"])
    answer = await client.post(
        f"/v1/api-keys/{made['id']}/rotate", json={"overlap_seconds": overlap}, headers=tenant.headers
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "overlap_seconds"


async def test_of_many_rotations_at_once_one_happens(client: httpx.AsyncClient, tenant: Tenant) -> None:
    for _ in range(6):
        old = await create(client, tenant.test_key, scopes=["keys:write"])
        answers = await asyncio.gather(
            *(
                client.post(f"/v1/api-keys/{old['id']}/rotate", headers=bearer(caller))
                for caller in (old["key"], tenant.test_key) * 3
            )
        )
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5


async def test_a_scoped_key_handles_the_keys_of_its_end_user(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    people = [(await client.post("/v1/end-users", headers=tenant.headers)).json()["id"] for _ in range(2)]
    scopes = ["keys:write", "devices:read"]
    own = await create(client, tenant.test_key, scopes=scopes, end_user_id=people[0])
    other = await create(client, tenant.test_key, scopes=scopes, end_user_id=people[1])
    implied = await create(client, own["key"], scopes=["devices:read"])
    assert implied["end_user_id"] == people[0]
    named = await create(client, own["key"], scopes=["devices:read"], end_user_id=people[0])
    assert set(await listed(client, own["key"])) == {own["id"], implied["id"], named["id"]}
    foreign = await client.post(
        "/v1/api-keys", json={"scopes": scopes, "end_user_id": people[1]}, headers=bearer(own["key"])
    )
    assert foreign.status_code == 404
    for method, suffix in (("DELETE", ""), ("POST", "/rotate")):
        path = f"/v1/api-keys/{other['id']}{suffix}"
        assert (await client.request(method, path, headers=bearer(own["key"]))).status_code == 404
    rotated = await client.post(f"/v1/api-keys/{named['id']}/rotate", headers=bearer(own["key"]))
    assert rotated.status_code == 201
    assert rotated.json()["end_user_id"] == people[0]
    unknown = await client.post(
        "/v1/api-keys", json={"scopes": scopes, "end_user_id": "eu_nobody"}, headers=tenant.headers
    )
    assert unknown.status_code == 404


async def test_rotation_while_the_end_user_is_deleted_leaves_no_key(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    """Neither waits for the other in a circle, and neither leaves a key behind."""
    for rotation_first in (True, False):
        person = (await client.post("/v1/end-users", headers=tenant.headers)).json()["id"]
        made = await create(client, tenant.test_key, scopes=["devices:read"], end_user_id=person)
        calls = [
            client.post(f"/v1/api-keys/{made['id']}/rotate", headers=tenant.headers),
            client.delete(f"/v1/end-users/{person}", headers=tenant.headers),
        ]
        tasks: list[asyncio.Task[httpx.Response]] = []
        async with ports.database.transaction() as connection:
            await queries.lock_keys(connection, tenant.test_world, [made["id"]])
            for number, call in enumerate(calls if rotation_first else calls[::-1], 1):
                tasks.append(asyncio.create_task(call))
                await until_waiting(ports, number)
        first, second = await asyncio.gather(*tasks)
        rotated, deleted = (first, second) if rotation_first else (second, first)
        assert deleted.status_code == 204
        assert rotated.status_code == (201 if rotation_first else 404)
        for key in (made["key"], rotated.json().get("key")):
            if key is not None:
                assert await status(client, key) == 401
