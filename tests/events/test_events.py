"""Reading events by page and by id."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from lapel.app import SLICES
from lapel.foundation.ports import Ports
from lapel.slices.webhooks.registration.event_checks import SCOPE_OF_RESOURCE, scope_of
from tests.events.writing import write
from tests.support.tenants import Tenant, bearer, make_key

MOVE = "UPDATE events SET created_at = $3::timestamptz WHERE world_id = $1 AND id = $2"


@pytest.fixture
async def made(ports: Ports, tenant: Tenant) -> list[str]:
    """Six events, oldest first, one a day, and a test event after them."""
    types = ("recording.created", "recording.deleted", "device.bound", "recording.failed", "ota.failed")
    ids = [
        await write(ports, tenant.test_world, f"rec_{number % 2}", type=each)
        for number, each in enumerate((*types, "recording.created"))
    ]
    await write(ports, tenant.test_world, "rec_0", type="device.offline", test_for="wh_1")
    async with ports.database.acquire() as connection:
        for day, each in enumerate(ids, 1):
            await connection.execute(
                MOVE.replace("$3", f"'2026-01-0{day}T00:00:00Z'"), tenant.test_world, each
            )
    return ids


async def walk(client: httpx.AsyncClient, tenant: Tenant, **query: Any) -> list[str]:
    """The ids of all pages of two."""
    seen: list[str] = []
    cursor = ""
    while True:
        params = {**query, "limit": 2, **({"cursor": cursor} if cursor else {})}
        answer = await client.get("/v1/events", params=params, headers=tenant.headers)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        seen += [each["id"] for each in page["data"]]
        if not page["has_more"]:
            return seen
        cursor = page["next_cursor"]


async def test_events_are_listed_newest_first_and_filtered(
    client: httpx.AsyncClient, tenant: Tenant, made: list[str]
) -> None:
    def at(*numbers: int) -> list[str]:
        return [made[number] for number in numbers]

    assert await walk(client, tenant) == at(5, 4, 3, 2, 1, 0)
    assert await walk(client, tenant, types="recording.*") == at(5, 3, 1, 0)
    assert await walk(client, tenant, types="ota.failed, recording.created") == at(5, 4, 0)
    assert await walk(client, tenant, types="*") == at(5, 4, 3, 2, 1, 0)
    assert await walk(client, tenant, types="transcription.*") == []
    assert await walk(client, tenant, resource_id="rec_1") == at(5, 3, 1)
    assert await walk(client, tenant, resource_id="rec_1", types="recording.created") == at(5)
    third = "2026-01-03T00:00:00.000Z"
    assert await walk(client, tenant, created_after=third) == at(5, 4, 3, 2)
    assert await walk(client, tenant, created_before=third) == at(1, 0)
    day = {"created_after": third, "created_before": "2026-01-04T01:00:00+01:00"}
    assert await walk(client, tenant, **day) == at(2)
    assert await walk(client, tenant, types="recording.*", created_before="2026-01-06T00:00:00Z") == at(
        3, 1, 0
    )
    assert await walk(client, tenant, offset=0, resource_id="nothing") == []


async def test_an_event_is_shown_as_it_was_frozen(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant
) -> None:
    data = b'{"id":"rec_1","n":1.50,"text":"\xc3\xa4\\u00e4","empty":{}}'
    event_id = await write(ports, tenant.test_world, "rec_1", data=data)
    answer = await client.get(f"/v1/events/{event_id}", headers=tenant.headers)
    assert answer.content.endswith(b'"data":' + data + b"}")
    page = await client.get("/v1/events", headers=tenant.headers)
    assert page.json()["data"] == [answer.json()]
    assert data in page.content


async def test_a_test_event_and_another_worlds_event_are_404(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant, stranger: Tenant
) -> None:
    event_id = await write(ports, tenant.test_world, "rec_1")
    tried = await write(ports, tenant.test_world, "rec_2", test_for="wh_1")
    for token, each in (
        (tenant.test_key, tried),
        (tenant.live_key, event_id),
        (stranger.test_key, event_id),
    ):
        assert (await client.get(f"/v1/events/{each}", headers=bearer(token))).status_code == 404
        assert event_id not in (await client.get("/v1/events", headers=bearer(stranger.test_key))).text
    scopeless = await make_key(ports, tenant.test_world, "rk_test", scopes=("recordings:read",))
    assert (await client.get("/v1/events", headers=bearer(scopeless))).status_code == 403


async def test_a_key_sees_only_events_of_resources_that_it_may_read(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant, made: list[str]
) -> None:
    """An event has its resource in it: a transcription with all its text, a recording, a device."""
    spoken = await write(ports, tenant.test_world, "tr_1", type="transcription.completed")
    scopes = ("webhooks:read", "devices:read")
    key = bearer(await make_key(ports, tenant.test_world, "rk_test", scopes=scopes))
    shown = await client.get("/v1/events", headers=key)
    assert [each["id"] for each in shown.json()["data"]] == [made[4], made[2]]
    about_one = await client.get("/v1/events?resource_id=rec_0", headers=key)
    assert [each["id"] for each in about_one.json()["data"]] == [made[4], made[2]]
    assert (await client.get(f"/v1/events/{made[2]}", headers=key)).status_code == 200
    asked = ("?types=transcription.*", "?types=device.bound,transcription.failed", f"/{spoken}")
    for path in (*asked, "/stream?types=transcription.completed"):
        refused = await client.get(f"/v1/events{path}", headers=key)
        assert refused.status_code == 403
        assert "`transcriptions:read`" in refused.json()["error"]["message"]
        assert "recordings:read" not in refused.text


def test_every_type_of_event_has_the_scope_of_its_resource() -> None:
    declared = {scope for each in SLICES for scope in each.scopes}
    types = {name for each in SLICES for name in each.events}
    assert {scope_of(name) for name in types} <= declared
    assert {name.partition(".")[0] for name in types} == set(SCOPE_OF_RESOURCE)


async def test_a_page_of_large_events_ends_early(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant
) -> None:
    large = b'{"text":"%b"}' % (b"x" * 400_000)
    made = [await write(ports, tenant.test_world, f"rec_{number}", data=large) for number in range(5)]
    first = (await client.get("/v1/events", headers=tenant.headers)).json()
    assert [each["id"] for each in first["data"]] == [made[4], made[3]]
    assert first["has_more"] is True
    assert await walk(client, tenant, types="recording.deleted") == made[::-1]


async def test_unknown_types_are_400(client: httpx.AsyncClient, tenant: Tenant) -> None:
    for types in ("recording", "recording.uploaded,x.y", "*.created", "recording.*.*"):
        answer = await client.get("/v1/events", params={"types": types}, headers=tenant.headers)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "types"), types
