"""What a key may let webhooks have, and the end of the webhooks that it made."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from lapel.app import open_services
from lapel.foundation.database.outbox import PlacedRow, WaitingRow
from lapel.foundation.ports import Ports
from lapel.slices.projects.operator import OperatorKeys
from lapel.slices.projects.service import Keys
from lapel.slices.webhooks.delivery import fan_out_queries
from tests.support.locks import until_waiting
from tests.support.tenants import Tenant, bearer
from tests.webhooks.support import URL, Hooks

QUEUED = """
SELECT convert_from(payload, 'UTF8')::jsonb ->> 'webhook_id' FROM jobs.pgqueuer
WHERE entrypoint = 'webhooks.end-pending'
"""


async def queued(ports: Ports) -> set[str]:
    """The webhooks whose pending deliveries a job is to end."""
    async with ports.database.acquire() as connection:
        return {row[0] for row in await connection.fetch(QUEUED)}


async def entries(client: httpx.AsyncClient, tenant: Tenant, webhook_id: str) -> list[dict[str, Any]]:
    """The audit log of a webhook, oldest first."""
    answer = await client.get("/v1/audit-log", params={"resource_id": webhook_id}, headers=tenant.headers)
    return answer.json()["data"][::-1]


async def restricted(
    client: httpx.AsyncClient, tenant: Tenant, scopes: Sequence[str]
) -> tuple[str, dict[str, str]]:
    """The id of a restricted key, and the headers of a request with it."""
    body = {"kind": "restricted", "scopes": list(scopes)}
    made = await client.post("/v1/api-keys", json=body, headers=tenant.headers)
    assert made.status_code == 201, made.text
    return made.json()["id"], bearer(made.json()["key"])


READS = (
    "config:read",
    "devices:read",
    "recordings:read",
    "summaries:read",
    "transcriptions:read",
    "webhooks:read",
)


async def test_a_repeat_by_a_key_that_may_not_register_the_webhook_does_not_get_its_secret(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    """The keys of a project share their idempotency keys, and one may guess the request of another."""
    _, able = await restricted(client, tenant, ["webhooks:write", "recordings:read"])
    _, lacking = await restricted(client, tenant, ["webhooks:write"])
    body = {"url": f"{URL}&once", "events": ["recording.created"]}
    once = {"Idempotency-Key": "create-webhook"}
    made = await client.post("/v1/webhooks", json=body, headers={**able, **once})
    assert made.status_code == 201, made.text
    refused = await client.post("/v1/webhooks", json=body, headers={**lacking, **once})
    assert (refused.status_code, made.json()["secret"] in refused.text) == (403, False)
    again = await client.post("/v1/webhooks", json=body, headers={**able, **once})
    assert again.json() == made.json()


@pytest.mark.parametrize(
    ("type_", "scope"),
    [
        ("recording.uploaded", "recordings:read"),
        ("transcription.completed", "transcriptions:read"),
        ("summary.failed", "summaries:read"),
        ("device.offline", "devices:read"),
        ("ota.failed", "devices:read"),
        ("webhook.disabled", "webhooks:read"),
        ("config.updated", "config:read"),
    ],
)
async def test_a_key_lets_a_webhook_have_only_events_that_it_may_read_itself(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports, type_: str, scope: str
) -> None:
    _, least = await restricted(client, tenant, ["webhooks:write", scope])
    others = [each for each in READS if each != scope]
    _, lacking = await restricted(client, tenant, ["webhooks:write", *others])

    async def refused(method: str, path: str, body: dict[str, Any] | None, missing: str) -> None:
        answer = await client.request(method, path, json=body, headers=lacking)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden"), path
        assert f"`{missing}`" in answer.json()["error"]["message"]

    body = {"url": f"{URL}&least", "events": [type_]}
    made = await client.post("/v1/webhooks", json=body, headers=least)
    assert made.status_code == 201, made.text
    every = await client.post("/v1/webhooks", json={**body, "events": ["*"]}, headers=least)
    assert every.status_code == 403
    one = f"/v1/webhooks/{made.json()['id']}"
    hooks = Hooks(client, tenant, ports)
    event = await hooks.event(type_, datetime(2026, 1, 15, tzinfo=UTC))
    delivery = await hooks.delivery(made.json()["id"], event, state="failed")
    for method, path, sent in (
        ("POST", "/v1/webhooks", {"url": f"{URL}&lacking", "events": [type_]}),
        ("POST", "/v1/webhooks", {"url": f"{URL}&lacking", "events": ["*"]}),
        ("PATCH", one, {"url": f"{URL}&mine"}),
        ("POST", f"{one}/recover", {"since": "2026-01-01T00:00:00Z"}),
        ("POST", f"{one}/deliveries/{delivery}/redeliver", None),
        ("POST", f"/v1/webhooks/deliveries/{delivery}/redeliver", None),
        ("POST", f"{one}/test", {"type": type_}),
        ("POST", f"/v1/events/{event}/resend", None),
    ):
        await refused(method, path, sent, scope)
        if method == "POST" and path != "/v1/webhooks":
            allowed = await client.request(method, path, json=sent, headers=least)
            assert allowed.status_code == 202, allowed.text
    # A receiver may repeat an event in its answer.
    await hooks.attempt(delivery, 1, status=500, answer=b"what the event said")
    _, looking = await restricted(client, tenant, sorted({"webhooks:read", *others}))
    hidden = None if scope != "webhooks:read" else "what the event said"
    for headers, body_shown in ((tenant.headers, "what the event said"), (looking, hidden)):
        answer = await client.get(f"{one}/deliveries/{delivery}", headers=headers)
        (attempt,) = answer.json()["attempts"]
        assert (attempt["response_status"], attempt["response_body"]) == (500, body_shown)
    # What lets no event go anywhere needs no more than before.
    quiet = await client.patch(one, json={"description": "b", "status": "disabled"}, headers=lacking)
    assert quiet.status_code == 200
    await refused("PATCH", one, {"status": "enabled"}, scope)
    narrower = "ota.failed" if scope != "devices:read" else "webhook.disabled"
    other = await client.patch(one, json={"events": [narrower]}, headers=lacking)
    assert other.json()["events"] == [narrower]
    await refused("PATCH", one, {"events": [narrower, type_]}, scope)


async def test_the_webhooks_of_a_key_end_with_all_that_it_issued(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    key, headers = await restricted(client, tenant, ["webhooks:write", *READS])

    async def registered(by: dict[str, str], name: str) -> str:
        body = {"url": f"{URL}&{name}", "events": ["*"]}
        return (await client.post("/v1/webhooks", json=body, headers=by)).json()["id"]

    made, readdressed, enabled = [await registered(headers, each) for each in ("made", "other", "again")]
    own = await registered(tenant.headers, "own")
    moved, started = await registered(tenant.headers, "moved"), await registered(tenant.headers, "started")
    for webhook, body, by in (
        (readdressed, {"url": f"{URL}&mine"}, tenant.headers),
        (enabled, {"status": "disabled"}, tenant.headers),
        (enabled, {"status": "enabled"}, tenant.headers),
        (own, {"events": ["ota.failed"], "description": "b"}, headers),
        (moved, {"url": f"{URL}&theirs"}, headers),
        (started, {"status": "disabled"}, headers),
        (started, {"status": "enabled"}, headers),
    ):
        assert (await client.patch(f"/v1/webhooks/{webhook}", json=body, headers=by)).status_code == 200
    path = f"/v1/api-keys/{key}"
    await client.delete(path, headers=tenant.headers)
    assert (await client.get(f"/v1/webhooks/{made}", headers=tenant.headers)).json()["status"] == "enabled"
    assert (await client.delete(f"{path}?issued=true", headers=tenant.headers)).status_code == 204
    listed = (await client.get("/v1/webhooks", headers=tenant.headers)).json()["data"]
    ended = {each["id"] for each in listed if each["status"] == "disabled"}
    assert ended == {made, moved, started}
    assert {each["disabled_reason"] for each in listed if each["id"] in ended} == {"request"}
    assert ended <= await queued(ports)
    last = (await entries(client, tenant, made))[-1]
    assert (last["action"], last["actor"]["kind"]) == ("webhook.disabled", "key")
    assert last["after"] == {"status": "disabled", "disabled_reason": "request", "revoked_key": key}
    # A repeat ends nothing more.
    assert (await client.delete(f"{path}?issued=true", headers=tenant.headers)).status_code == 204
    assert len(await entries(client, tenant, made)) == 2


async def test_a_webhook_is_not_made_with_a_key_that_is_being_revoked(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    """The request is authenticated, and the revocation commits before the webhook is written."""
    key, headers = await restricted(client, tenant, ["webhooks:write", *READS])
    async with ports.database.transaction() as revocation:
        await revocation.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", key)
        body = {"url": f"{URL}&late", "events": ["*"]}
        asked = asyncio.create_task(client.post("/v1/webhooks", json=body, headers=headers))
        await until_waiting(ports, 1)
    assert (await asked).status_code == 401
    assert (await client.get("/v1/webhooks", headers=tenant.headers)).json()["data"] == []


async def test_a_key_that_is_being_revoked_widens_no_events(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    key, headers = await restricted(client, tenant, ["webhooks:write", *READS])
    body: dict[str, Any] = {"url": f"{URL}&wide", "events": ["device.bound"]}
    webhook = (await client.post("/v1/webhooks", json=body, headers=tenant.headers)).json()["id"]
    async with ports.database.transaction() as revocation:
        await revocation.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", key)
        path = f"/v1/webhooks/{webhook}"
        asked = asyncio.create_task(client.patch(path, json={"events": ["*"]}, headers=headers))
        await until_waiting(ports, 1)
    assert (await asked).status_code == 401
    assert (await client.get(path, headers=tenant.headers)).json()["events"] == ["device.bound"]


async def test_the_operator_ends_the_webhooks_of_a_key_too(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    key, headers = await restricted(client, tenant, ["webhooks:write", *READS])
    body = {"url": f"{URL}&operator", "events": ["*"]}
    made = (await client.post("/v1/webhooks", json=body, headers=headers)).json()["id"]
    keys = OperatorKeys(ports)
    await keys.revoke(key)
    assert (await client.get(f"/v1/webhooks/{made}", headers=tenant.headers)).json()["status"] == "enabled"
    await keys.revoke(key, issued=open_services(ports)[Keys].on_revoke_issued)
    assert (await client.get(f"/v1/webhooks/{made}", headers=tenant.headers)).json()["status"] == "disabled"
    last = (await entries(client, tenant, made))[-1]
    assert (last["action"], last["actor"]["kind"]) == ("webhook.disabled", "operator")


async def test_what_is_pending_is_not_sent_to_a_url_of_a_key_that_may_not_read_it(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    """Pending deliveries go to the URL that the webhook has when they are attempted."""
    _, weak = await restricted(client, tenant, ["webhooks:write", "devices:read"])
    hooks = Hooks(client, tenant, ports)
    webhook = await hooks.add()
    transcript = await hooks.event("transcription.completed", datetime(2026, 1, 15, tzinfo=UTC))
    delivery = await hooks.delivery(webhook, transcript)
    await hooks.delivery(webhook, await hooks.event("device.bound", datetime(2026, 1, 15, tzinfo=UTC)))
    mine = {"url": f"{URL}&mine", "events": ["device.bound"]}

    async def changed(body: dict[str, Any]) -> int:
        answer = await client.patch(f"/v1/webhooks/{webhook}", json=body, headers=weak)
        return answer.status_code

    assert await changed(mine) == 403
    assert await changed({"events": ["device.bound"]}) == 200
    assert await changed(mine) == 403
    assert await changed({"status": "disabled"}) == 200
    assert await changed({**mine, "status": "enabled"}) == 403
    async with ports.database.acquire() as connection:
        await connection.execute(
            "UPDATE webhook_deliveries SET state = 'failed', due_at = NULL WHERE id = $1", delivery
        )
    assert await changed(mine) == 200


async def test_what_a_fan_out_is_about_to_make_pending_is_not_sent_there_either(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    """The fan-out has matched a transcript with the webhook, and commits its delivery after the requests."""
    _, weak = await restricted(client, tenant, ["webhooks:write", "devices:read"])
    hooks = Hooks(client, tenant, ports)
    webhook = await hooks.add()
    path = f"/v1/webhooks/{webhook}"
    event = await hooks.event("transcription.completed", datetime(2026, 1, 15, tzinfo=UTC))
    waiting = WaitingRow(hooks.world, event, "transcription.completed", "tr_1", None)
    placed = PlacedRow(hooks.world, event, "transcription.completed", "tr_1", 1, None)
    async with ports.database.transaction() as fan_out:
        matches = await fan_out_queries.match(fan_out, [waiting])
        rooms = {(hooks.world, webhook): 1}
        await fan_out_queries.insert_deliveries(fan_out, ports.ids, [placed], matches, rooms)
        narrowed = await client.patch(path, json={"events": ["device.bound"]}, headers=weak)
        assert narrowed.status_code == 200
        asked = asyncio.create_task(client.patch(path, json={"url": f"{URL}&mine"}, headers=weak))
        await until_waiting(ports, 1)
    refused = await asked
    assert refused.status_code == 403
    assert "`transcriptions:read`" in refused.json()["error"]["message"]
