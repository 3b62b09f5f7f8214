"""End users over HTTP: what they are, who may see them, and what their deletion leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from lapel.foundation.ports import Ports
from tests.support.tenants import Tenant, bearer, make_key

FIELDS = {
    "id",
    "external_id",
    "name",
    "email",
    "metadata",
    "project_id",
    "created_at",
    "updated_at",
    "deleted_at",
}


async def add(client: httpx.AsyncClient, tenant: Tenant, **body: Any) -> dict[str, Any]:
    answer = await client.post("/v1/end-users", json=body, headers=tenant.headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_an_end_user_may_be_no_more_than_an_id(client: httpx.AsyncClient, tenant: Tenant) -> None:
    answer = await client.post("/v1/end-users", headers=tenant.headers)
    assert answer.status_code == 201
    made = answer.json()
    assert set(made) == FIELDS
    assert made["id"].startswith("eu_")
    assert made["project_id"] == tenant.project_id
    assert made["metadata"] == {}
    assert all(made[key] is None for key in ("external_id", "name", "email", "deleted_at"))
    assert made["created_at"] == made["updated_at"]


async def test_what_was_given_is_read_back(client: httpx.AsyncClient, tenant: Tenant) -> None:
    facts = {
        "external_id": "user-42 ☂",
        "name": "Jane Roe",
        "email": "jane@example.com",
        "metadata": {"plan": "pro", "nested": {"n": 1.5, "l": [True, None]}},
    }
    made = await add(client, tenant, **facts, unknown_field=1)
    assert {key: made[key] for key in facts} == facts
    read = await client.get(f"/v1/end-users/{made['id']}", headers=tenant.headers)
    assert read.status_code == 200
    assert read.json() == made


async def test_null_is_the_same_as_absent_at_creation(client: httpx.AsyncClient, tenant: Tenant) -> None:
    made = await add(client, tenant, external_id=None, name=None, email=None, metadata=None)
    assert made["external_id"] is None
    assert made["metadata"] == {}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"external_id": ""}, "external_id"),
        ({"external_id": "x" * 256}, "external_id"),
        ({"external_id": 7}, "external_id"),
        ({"external_id": "a\x00b"}, "external_id"),
        ({"name": "x" * 256}, "name"),
        ({"name": ["Jane"]}, "name"),
        ({"email": "x" * 256}, "email"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {str(n): n for n in range(51)}}, "metadata"),
        ({"metadata": {"k" * 65: 1}}, "metadata"),
        ({"metadata": {"k": "v" * 17_000}}, "metadata"),
    ],
)
async def test_a_wrong_value_is_named(
    client: httpx.AsyncClient, tenant: Tenant, body: dict[str, Any], param: str
) -> None:
    made = await add(client, tenant)
    for method, path in (("POST", "/v1/end-users"), ("PATCH", f"/v1/end-users/{made['id']}")):
        answer = await client.request(method, path, json=body, headers=tenant.headers)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["code"] == "invalid_request"
        assert answer.json()["error"]["param"] == param


async def test_an_external_id_has_one_active_holder(client: httpx.AsyncClient, tenant: Tenant) -> None:
    first = await add(client, tenant, external_id="u1")
    refused = await client.post("/v1/end-users", json={"external_id": "u1"}, headers=tenant.headers)
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "resource_already_exists"
    assert refused.json()["error"]["resource_id"] == first["id"]
    # The other world knows nothing of it, and a deleted holder frees it.
    other = await client.post("/v1/end-users", json={"external_id": "u1"}, headers=tenant.live_headers)
    assert other.status_code == 201
    gone = await client.delete(f"/v1/end-users/{first['id']}", headers=tenant.headers)
    assert gone.status_code == 204
    assert (await add(client, tenant, external_id="u1"))["id"] != first["id"]


async def test_of_many_creations_at_once_one_wins(client: httpx.AsyncClient, tenant: Tenant) -> None:
    answers = await asyncio.gather(
        *(
            client.post("/v1/end-users", json={"external_id": "same"}, headers=tenant.headers)
            for _ in range(12)
        )
    )
    made = [answer.json()["id"] for answer in answers if answer.status_code == 201]
    assert len(made) == 1
    others = [answer for answer in answers if answer.status_code != 201]
    assert {answer.status_code for answer in others} == {409}
    assert {answer.json()["error"]["resource_id"] for answer in others} == set(made)


async def test_a_deletion_frees_the_external_id_for_exactly_one(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    for number in range(8):
        holder = await add(client, tenant, external_id=f"u{number}")
        create = [
            client.post("/v1/end-users", json={"external_id": f"u{number}"}, headers=tenant.headers)
            for _ in range(4)
        ]
        deleted, *answers = await asyncio.gather(
            client.delete(f"/v1/end-users/{holder['id']}", headers=tenant.headers), *create
        )
        assert deleted.status_code == 204
        assert {answer.status_code for answer in answers} <= {201, 409}
        assert sum(answer.status_code == 201 for answer in answers) <= 1
        found = await client.get(f"/v1/end-users?external_id=u{number}", headers=tenant.headers)
        made = [answer.json()["id"] for answer in answers if answer.status_code == 201]
        assert [each["id"] for each in found.json()["data"]] == made


async def test_the_list_is_newest_first_and_walks_without_gaps(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    made = [(await add(client, tenant, name=str(n)))["id"] for n in range(7)]
    seen: list[str] = []
    cursor = ""
    while True:
        answer = await client.get(
            "/v1/end-users", params={"limit": 3, "cursor": cursor}, headers=tenant.headers
        )
        body = answer.json()
        assert set(body) == {"data", "has_more", "next_cursor"}
        assert 0 < len(body["data"]) <= 3
        seen += [each["id"] for each in body["data"]]
        await add(client, tenant, name="meanwhile")
        if not body["has_more"]:
            assert body["next_cursor"] is None
            break
        cursor = body["next_cursor"]
    assert seen == made[::-1]
    skipped = await client.get("/v1/end-users", params={"limit": 2, "offset": 1}, headers=tenant.headers)
    whole = await client.get("/v1/end-users", headers=tenant.headers)
    assert skipped.json()["data"] == whole.json()["data"][1:3]


async def test_the_external_id_filter_is_exact(client: httpx.AsyncClient, tenant: Tenant) -> None:
    made = await add(client, tenant, external_id="Exact")
    await add(client, tenant, external_id="Exactly")
    for wanted, found in (("Exact", [made]), ("exact", []), ("Exac", []), ("Exact%", [])):
        answer = await client.get("/v1/end-users", params={"external_id": wanted}, headers=tenant.headers)
        assert answer.json() == {"data": found, "has_more": False, "next_cursor": None}


async def test_an_external_id_is_kept_and_compared_to_its_last_newline(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    made = {value: await add(client, tenant, external_id=value) for value in ("u", "u\n", " u", "U")}
    for value, each in made.items():
        assert each["external_id"] == value
        answer = await client.get("/v1/end-users", params={"external_id": value}, headers=tenant.headers)
        assert answer.json()["data"] == [each]


async def test_patch_keeps_what_is_absent_and_clears_what_is_null(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    made = await add(client, tenant, external_id="p", name="Jane", email="j@x.org", metadata={"a": 1, "b": 2})
    path = f"/v1/end-users/{made['id']}"

    unchanged = await client.patch(path, json={}, headers=tenant.headers)
    assert (unchanged.status_code, unchanged.json()) == (200, made)

    changed = await client.patch(path, json={"name": "Joan", "metadata": {"c": 3}}, headers=tenant.headers)
    body = changed.json()
    assert changed.status_code == 200
    assert body["updated_at"] >= made["updated_at"]
    assert body == {**made, "name": "Joan", "metadata": {"c": 3}, "updated_at": body["updated_at"]}

    others = {"external_id": "q\n", "email": "q@x.org"}
    body = (await client.patch(path, json=others, headers=tenant.headers)).json()
    assert {name: body[name] for name in others} == others
    assert (body["name"], body["metadata"]) == ("Joan", {"c": 3})

    nulls = {"external_id": None, "name": None, "email": None, "metadata": None}
    cleared = (await client.patch(path, json=nulls, headers=tenant.headers)).json()
    assert cleared == {**made, **nulls, "metadata": {}, "updated_at": cleared["updated_at"]}
    assert (await client.get(path, headers=tenant.headers)).json() == cleared


async def test_what_is_not_there_cannot_be_changed(client: httpx.AsyncClient, tenant: Tenant) -> None:
    for body in ({}, {"name": "Jane"}):
        answer = await client.patch("/v1/end-users/eu_nobody", json=body, headers=tenant.headers)
        assert answer.status_code == 404


async def test_patch_refuses_a_taken_external_id(client: httpx.AsyncClient, tenant: Tenant) -> None:
    holder = await add(client, tenant, external_id="taken")
    other = await add(client, tenant, name="other")
    path = f"/v1/end-users/{other['id']}"
    refused = await client.patch(path, json={"external_id": "taken", "name": "no"}, headers=tenant.headers)
    assert refused.status_code == 409
    assert refused.json()["error"]["resource_id"] == holder["id"]
    assert (await client.get(path, headers=tenant.headers)).json() == other


async def test_of_many_patches_to_one_external_id_one_wins(client: httpx.AsyncClient, tenant: Tenant) -> None:
    ids = [(await add(client, tenant))["id"] for _ in range(8)]
    answers = await asyncio.gather(
        *(
            client.patch(f"/v1/end-users/{each}", json={"external_id": "one"}, headers=tenant.headers)
            for each in ids
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7


async def test_nobody_else_sees_or_touches_them(
    client: httpx.AsyncClient, tenant: Tenant, stranger: Tenant
) -> None:
    made = await add(client, tenant, external_id="mine")
    path = f"/v1/end-users/{made['id']}"
    for headers in (stranger.headers, tenant.live_headers):
        for method, suffix in (
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/token"),
            ("DELETE", "/token"),
        ):
            answer = await client.request(method, path + suffix, headers=headers)
            assert answer.status_code == 404, (method, suffix)
            assert answer.json()["error"]["code"] == "not_found"
        listed = await client.get("/v1/end-users", headers=headers)
        assert listed.json()["data"] == []
    assert (await client.get(path, headers=tenant.headers)).json() == made


async def test_a_scoped_key_sees_its_own_end_user_and_changes_nothing(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    own = await add(client, tenant, external_id="own")
    other = await add(client, tenant, external_id="other")
    key = await make_key(ports, tenant.test_world, "rk_test", end_user_id=own["id"])
    headers = bearer(key)
    assert (await client.get("/v1/end-users", headers=headers)).json()["data"] == [own]
    for wanted, found in (("own", [own]), ("other", [])):
        listed = await client.get("/v1/end-users", params={"external_id": wanted}, headers=headers)
        assert listed.json()["data"] == found
    assert (await client.get(f"/v1/end-users/{own['id']}", headers=headers)).json() == own
    assert (await client.get(f"/v1/end-users/{other['id']}", headers=headers)).status_code == 404
    for method, path in (
        ("POST", "/v1/end-users"),
        ("PATCH", f"/v1/end-users/{own['id']}"),
        ("DELETE", f"/v1/end-users/{own['id']}"),
        ("POST", f"/v1/end-users/{own['id']}/token"),
        ("DELETE", f"/v1/end-users/{own['id']}/token"),
    ):
        answer = await client.request(method, path, headers=headers)
        assert answer.status_code == 403, (method, path)


async def test_an_end_user_token_reads_its_own_data_until_the_next_one(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    own = await add(client, tenant)
    await add(client, tenant)
    path = f"/v1/end-users/{own['id']}/token"
    answer = await client.post(path, headers=tenant.headers)
    assert answer.status_code == 201
    first = answer.json()
    assert set(first) == {"token", "expires_at", "connection_command"}
    assert first["expires_at"] is not None
    assert first["token"].startswith("eut_")
    assert first["token"] in first["connection_command"]
    assert "/mcp" in first["connection_command"]

    headers = bearer(first["token"])
    assert (await client.get("/v1/end-users", headers=headers)).json()["data"] == [own]
    assert (await client.get(f"/v1/end-users/{own['id']}", headers=headers)).json() == own
    assert (await client.patch(f"/v1/end-users/{own['id']}", json={}, headers=headers)).status_code == 403

    second = (await client.post(path, headers=tenant.headers)).json()
    assert (await client.get("/v1/end-users", headers=headers)).status_code == 401
    headers = bearer(second["token"])
    assert (await client.get("/v1/end-users", headers=headers)).status_code == 200
    for _ in range(2):  # the second time there is nothing to revoke
        assert (await client.delete(path, headers=tenant.headers)).status_code == 204
    assert (await client.get("/v1/end-users", headers=headers)).status_code == 401


async def test_of_many_tokens_issued_at_once_one_works(client: httpx.AsyncClient, tenant: Tenant) -> None:
    own = await add(client, tenant)
    answers = await asyncio.gather(
        *(client.post(f"/v1/end-users/{own['id']}/token", headers=tenant.headers) for _ in range(6))
    )
    assert [answer.status_code for answer in answers] == [201] * 6
    statuses = [
        (await client.get("/v1/end-users", headers=bearer(answer.json()["token"]))).status_code
        for answer in answers
    ]
    assert sorted(statuses) == [200] + [401] * 5
