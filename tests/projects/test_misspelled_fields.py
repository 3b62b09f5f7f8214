"""A misspelled field makes no key or token that may do more, or lives longer, than was wanted."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from tests.support.tenants import Tenant, bearer

SCOPES = ["devices:read"]


async def refuse(
    client: httpx.AsyncClient, tenant: Tenant, path: str, body: dict[str, Any], param: str, meant: str
) -> None:
    """POST a body that is refused because of one field."""
    answer = await client.post(path, json=body, headers=tenant.headers)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", param)
    assert error["message"] == f"`{param}` is not known here. Did you mean `{meant}`?"
    assert error["details"] == [{"field": param, "reason": "unknown"}]


async def make(client: httpx.AsyncClient, tenant: Tenant, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(path, json=body, headers=tenant.headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def listed(client: httpx.AsyncClient, tenant: Tenant) -> dict[str, Any]:
    answer = await client.get("/v1/api-keys", headers=tenant.headers)
    return {each["id"]: each for each in answer.json()["data"]}


@pytest.mark.parametrize(
    ("body", "param", "meant"),
    [
        ({"scopes": SCOPES, "enduser_id": "eu_x"}, "enduser_id", "end_user_id"),
        ({"scopes": SCOPES, "expire_at": "2999-01-01T00:00:00Z"}, "expire_at", "expires_at"),
        ({"kind": "secret", "expiresAt": None}, "expiresAt", "expires_at"),
        ({"scope": SCOPES}, "scope", "scopes"),
    ],
)
async def test_no_key_is_made(
    client: httpx.AsyncClient, tenant: Tenant, body: dict[str, Any], param: str, meant: str
) -> None:
    before = await listed(client, tenant)
    await refuse(client, tenant, "/v1/api-keys", body, param, meant)
    assert set(await listed(client, tenant)) == set(before)


async def test_no_key_is_rotated(client: httpx.AsyncClient, tenant: Tenant) -> None:
    key = (await make(client, tenant, "/v1/api-keys", {"scopes": SCOPES}))["id"]
    path = f"/v1/api-keys/{key}/rotate"
    await refuse(client, tenant, path, {"overlap_second": 0}, "overlap_second", "overlap_seconds")
    assert (await listed(client, tenant))[key]["rotated_to"] is None


async def test_no_token_is_issued(client: httpx.AsyncClient, tenant: Tenant) -> None:
    person = (await make(client, tenant, "/v1/end-users", {}))["id"]
    path = f"/v1/end-users/{person}/token"
    token = (await make(client, tenant, path, {}))["token"]
    await refuse(client, tenant, path, {"expire_at": "2999-01-01T00:00:00Z"}, "expire_at", "expires_at")
    # A new token would have ended this one.
    assert (await client.get("/v1/whoami", headers=bearer(token))).status_code == 200


@pytest.mark.parametrize(
    ("body", "valid"),
    [
        ({"scopes": SCOPES}, True),
        ({"scopes": SCOPES, "end_user_id": "eu_x", "name": "n"}, True),
        ({"kind": "secret", "expires_at": "2999-01-01T00:00:00Z"}, True),
        ({"scopes": SCOPES, "enduser_id": "eu_x"}, False),
        ({"kind": "secret", "expire_at": "2999-01-01T00:00:00Z"}, False),
        ({"kind": "secret", "scopes": SCOPES}, False),
        ({}, False),
    ],
)
async def test_the_document_refuses_the_same_bodies(
    client: httpx.AsyncClient, body: dict[str, Any], valid: bool
) -> None:
    """Neither the rules across fields nor the refusal of other fields hides the other in the schema."""
    described = (await client.get("/v1/openapi.json")).json()
    schema = {"$ref": "#/components/schemas/CreateApiKey", "components": described["components"]}
    assert Draft202012Validator(schema).is_valid(body) is valid
