"""What clients send to get more out of the API than they should."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.support.client import api_client
from tests.support.patience import LONG
from tests.support.running import Running
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


@pytest.mark.deep
async def test_bodies_that_never_end_do_not_fill_the_memory_and_leave_others_room(
    live: Running, tenant: Tenant, stranger: Tenant
) -> None:
    """Most of each body is sent at once. Without a limit, all of them would stay until their time is over."""
    port = int(live.url.rpartition(":")[2])
    head = (
        f"POST /v1/end-users HTTP/1.1\r\nHost: h\r\nAuthorization: {tenant.headers['Authorization']}\r\n"
        "Content-Length: 1000000\r\n\r\n"
    )
    answers: list[asyncio.Task[bytes]] = []
    writers: list[asyncio.StreamWriter] = []
    for _ in range(80):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + bytes(900_000))
        writers.append(writer)
        answers.append(asyncio.create_task(reader.readuntil(b"\r\n")))
    try:
        ended, held = await asyncio.wait(answers, timeout=LONG, return_when="FIRST_COMPLETED")
        assert {each.result() for each in ended} == {b"HTTP/1.1 503 Service Unavailable\r\n"}
        assert held
        body = {"external_id": "other", "metadata": {}, "padding": "x" * 900_000}
        async with api_client(live.url) as client:
            assert (
                await client.post("/v1/end-users", json=body, headers=stranger.headers)
            ).status_code == 201
    finally:
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*answers, return_exceptions=True)
