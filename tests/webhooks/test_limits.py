"""How many webhooks a world may have, and that each has a URL of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from lapel.foundation.ports import Ports
from tests.support.tenants import Tenant
from tests.webhooks.support import URL, add, changed

MANY = """
INSERT INTO webhooks (world_id, id, url, events, status, sealed_secret, created_at, updated_at)
SELECT $1, 'wh_' || n, 'https://a.example/' || n, '{*}', 'enabled', '', now(), now()
FROM generate_series(1, $2) n
"""


async def test_a_world_has_at_most_50_webhooks_however_many_come_at_once(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    async with ports.database.acquire() as connection:
        await connection.execute(MANY, tenant.test_world, 47)
    bodies = [{"url": f"{URL}&{nth}", "events": ["*"]} for nth in range(6)]
    answers = await asyncio.gather(
        *(client.post("/v1/webhooks", json=each, headers=tenant.headers) for each in bodies)
    )
    assert sorted(each.status_code for each in answers) == [201] * 3 + [409] * 3
    full = next(each for each in answers if each.status_code == 409)
    assert full.json()["error"]["code"] == "conflict"
    message = full.json()["error"]["message"]
    assert "50 webhooks" in message
    assert "LAPEL_WEBHOOKS_PER_WORLD" in message
    made = next(each for each in answers if each.status_code == 201).json()
    await client.delete(f"/v1/webhooks/{made['id']}", headers=tenant.headers)
    await add(client, tenant)


async def test_a_world_has_one_webhook_for_each_url(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    async def refused(method: str, path: str, body: dict[str, Any]) -> str:
        answer = await client.request(method, f"/v1/webhooks{path}", json=body, headers=tenant.headers)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (409, "resource_already_exists", "url")
        return error["resource_id"]

    made = await add(client, tenant, url="https://one.example")
    for url in ("https://one.example", "https://ONE.example:443/"):
        assert await refused("POST", "", {"url": url, "events": ["ota.failed"]}) == made["id"]
    other = await add(client, tenant, url="https://one.example/other")
    assert await refused("PATCH", f"/{other['id']}", {"url": "https://one.example/"}) == made["id"]
    # The same URL, written in another way, is no other webhook's.
    await changed(client, tenant, made["id"], url="https://one.example/")
    live = await client.post(
        "/v1/webhooks", json={"url": "https://one.example", "events": ["*"]}, headers=tenant.live_headers
    )
    assert live.status_code == 201
    await client.delete(f"/v1/webhooks/{made['id']}", headers=tenant.headers)
    again = await add(client, tenant, url="https://one.example")
    # Of an earlier version: two webhooks with one URL, which go on.
    async with ports.database.acquire() as connection:
        await connection.execute("UPDATE webhooks SET url = $1 WHERE id = $2", again["url"], other["id"])
    await changed(client, tenant, other["id"], description="b", status="disabled")
    assert (await changed(client, tenant, other["id"], status="enabled"))["url"] == again["url"]


async def test_a_stored_url_that_cannot_be_parsed_hinders_no_other_webhook(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    old, other = await add(client, tenant), await add(client, tenant)
    async with ports.database.acquire() as connection:
        for url in ("https://a.example:99999/", "https://[::1", "in"):
            await connection.execute("UPDATE webhooks SET url = $1 WHERE id = $2", url, old["id"])
            await add(client, tenant)
            await changed(client, tenant, other["id"], url=f"{URL}&of={url[-1]}")
    await changed(client, tenant, old["id"], url=f"{URL}&mended")
