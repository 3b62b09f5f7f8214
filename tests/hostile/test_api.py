"""What clients send to get more out of the API than they should."""

from __future__ import annotations

import httpx
import pytest

from tests.support.tenants import Tenant

METADATA_LIMIT = 16 * 1024


@pytest.mark.parametrize("number", [1e308, -1.5e300, 5e-324])
async def test_metadata_cannot_come_back_larger_than_it_may_be_sent(
    client: httpx.AsyncClient, tenant: Tenant, number: float
) -> None:
    small = {"external_id": "few", "metadata": {"numbers": [number] * 20}}
    answer = await client.post("/v1/end-users", json=small, headers=tenant.headers)
    assert answer.status_code == 201
    assert [float(each) for each in answer.json()["metadata"]["numbers"]] == [number] * 20
    assert len(answer.content) < METADATA_LIMIT

    # A few bytes each on the way in, hundreds on the way out.
    many = {"external_id": "many", "metadata": {"numbers": [number] * 1000}}
    answer = await client.post("/v1/end-users", json=many, headers=tenant.headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "metadata"


async def test_text_that_looks_like_a_large_number_takes_its_own_length_only(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    body = {"metadata": {"hashes": ['"1e308\\'] * 1000, "1e308": "e99999"}}
    answer = await client.post("/v1/end-users", json=body, headers=tenant.headers)
    assert answer.status_code == 201
    assert answer.json()["metadata"] == body["metadata"]


@pytest.mark.parametrize("name", ["Authorization", "Idempotency-Key", "Content-Type", "Bota-Version"])
async def test_a_header_that_is_there_twice_is_refused(
    client: httpx.AsyncClient, tenant: Tenant, stranger: Tenant, name: str
) -> None:
    values = {
        "Authorization": (tenant.headers["Authorization"], stranger.headers["Authorization"]),
        "Idempotency-Key": ("one", "two"),
        "Content-Type": ("application/json", "text/plain"),
        "Bota-Version": ("2026-01-01", "2026-01-02"),
    }[name]
    for first, second in (values, values[::-1], (values[0], values[0])):
        headers = [(name, first), (name, second)]
        if name != "Authorization":
            headers.append(("Authorization", tenant.headers["Authorization"]))
        answer = await client.post("/v1/end-users", content=b"{}", headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == name
    for each in (tenant, stranger):
        listed = await client.get("/v1/end-users", headers=each.headers)
        assert listed.json()["data"] == []
