"""Webhooks over HTTP: what may be registered, how secrets change, and what the audit log tells."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from lapel.foundation.ports import Ports
from lapel.slices.webhooks import signing_secrets
from lapel.slices.webhooks.payloads import END_PENDING, REMOVE
from tests.support.declared import described_api
from tests.support.tenants import Tenant
from tests.webhooks.support import URL, add, changed

FIELDS = {
    "id", "project_id", "url", "events", "description", "metadata", "status", "disabled_reason",
    "verified_at", "recovery", "created_at", "updated_at",
}  # fmt: skip
SECRETS = """
SELECT sealed_secret, sealed_previous_secret, previous_secret_until FROM webhooks
WHERE world_id = $1 AND id = $2
"""
VERIFY = "UPDATE webhooks SET verified_at = now(), paused_until = NULL WHERE world_id = $1 AND id = $2"
FAILING = """
UPDATE webhooks SET failures = 7, failing_since = now(), paused_until = now(), disabled_reason = 'failing',
    status = 'disabled'
WHERE world_id = $1 AND id = $2
"""
HEALTH = "SELECT failures, failing_since, paused_until FROM webhooks WHERE world_id = $1 AND id = $2"
QUEUED = (
    "SELECT convert_from(payload, 'UTF8')::jsonb ->> 'webhook_id' FROM jobs.pgqueuer WHERE entrypoint = $1"
)


async def entries(client: httpx.AsyncClient, tenant: Tenant, webhook_id: str) -> list[dict[str, Any]]:
    """The audit log of a webhook, oldest first."""
    answer = await client.get("/v1/audit-log", params={"resource_id": webhook_id}, headers=tenant.headers)
    return answer.json()["data"][::-1]


async def stored_secrets(ports: Ports, tenant: Tenant, webhook_id: str) -> tuple[list[str], datetime | None]:
    """The valid secrets of a webhook, the newest first, and the end of the previous one."""
    async with ports.database.acquire() as connection:
        row = await connection.fetchrow(SECRETS, tenant.test_world, webhook_id)
    assert row is not None
    found = [row["sealed_secret"], row["sealed_previous_secret"]]
    return [
        signing_secrets.opened(ports.sealer, tenant.test_world, webhook_id, each) for each in found if each
    ], row["previous_secret_until"]


async def health(ports: Ports, tenant: Tenant, webhook_id: str) -> tuple[Any, ...]:
    """`failures`, `failing_since` and `paused_until` of a webhook."""
    async with ports.database.acquire() as connection:
        row = await connection.fetchrow(HEALTH, tenant.test_world, webhook_id)
    assert row is not None
    return tuple(row)


async def queued(ports: Ports, entrypoint: str) -> list[str]:
    """The webhooks for which a job is queued."""
    async with ports.database.acquire() as connection:
        return [row[0] for row in await connection.fetch(QUEUED, entrypoint)]


async def test_a_webhook_is_created_read_and_listed_without_its_secret(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    facts = {
        "url": URL,
        "events": ["recording.uploaded", "summary.completed"],
        "description": "orders ☂",
        "metadata": {"team": "a"},
    }
    made = await add(client, tenant, **facts, unknown_field=1)
    assert set(made) == FIELDS | {"secret"}
    assert {name: made[name] for name in facts} == facts
    assert (made["status"], made["project_id"]) == ("enabled", tenant.project_id)
    assert made["created_at"] == made["updated_at"]
    shown = {name: value for name, value in made.items() if name != "secret"}
    second = await add(client, tenant)
    assert (second["description"], second["metadata"], second["events"]) == (None, {}, ["*"])
    for path in ("/v1/webhooks", "/v1/webhook-endpoints"):
        read = await client.get(f"{path}/{made['id']}", headers=tenant.headers)
        assert read.json() == shown
        listed = await client.get(path, headers=tenant.headers)
        assert [each["id"] for each in listed.json()["data"]] == [second["id"], made["id"]]
        assert listed.json()["data"][1] == shown


def test_the_older_paths_are_described_as_the_newer_are() -> None:
    paths = described_api()["paths"]
    newer = {path: each for path, each in paths.items() if path.startswith("/v1/webhooks")}
    older = {path: each for path, each in paths.items() if path.startswith("/v1/webhook-endpoints")}
    assert len(newer) >= 8
    assert set(older) == {path.replace("/webhooks", "/webhook-endpoints") for path in newer}
    for path, operations in newer.items():
        others = older[path.replace("/webhooks", "/webhook-endpoints")]
        assert set(others) == set(operations)
        for method, operation in operations.items():
            other = others[method]
            assert other["description"].startswith("The older path of the same operation.")
            names = ("operationId", "description")
            assert {**other, **{name: operation[name] for name in names}} == operation


async def test_the_older_path_is_the_same_webhook(client: httpx.AsyncClient, tenant: Tenant) -> None:
    older = "/v1/webhook-endpoints"
    made = await client.post(older, json={"url": URL, "events": ["*"]}, headers=tenant.headers)
    assert made.status_code == 201
    webhook_id = made.json()["id"]
    patched = await client.patch(f"{older}/{webhook_id}", json={"description": "a"}, headers=tenant.headers)
    assert patched.json()["description"] == "a"
    rotated = await client.post(f"{older}/{webhook_id}/rotate-secret", headers=tenant.headers)
    assert rotated.json()["secret"] != made.json()["secret"]
    assert (await client.get(f"/v1/webhooks/{webhook_id}", headers=tenant.headers)).status_code == 200
    assert (await client.delete(f"{older}/{webhook_id}", headers=tenant.headers)).status_code == 204
    assert (await client.get(f"/v1/webhooks/{webhook_id}", headers=tenant.headers)).status_code == 404


async def test_the_secret_is_32_bytes_in_base64_and_sealed_for_its_webhook(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    one, other = await add(client, tenant), await add(client, tenant)
    assert one["secret"] != other["secret"]
    for made in (one, other):
        assert len(base64.b64decode(made["secret"].removeprefix("whsec_"), validate=True)) == 32
        assert await stored_secrets(ports, tenant, made["id"]) == ([made["secret"]], None)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"url": None}, "url"),
        ({"url": ""}, "url"),
        ({"url": "receiver.example"}, "url"),
        ({"url": "http://10.0.0.1/a"}, "url"),
        ({"url": "https://user:secret@receiver.example"}, "url"),
        ({"url": "https://10.0.0.1/a"}, "url"),
        ({"url": "https://2130706433/a"}, "url"),
        ({"url": "https://receiver.example/" + "a" * 2048}, "url"),
        ({"events": None}, "events"),
        ({"events": []}, "events"),
        ({"events": "*"}, "events"),
        ({"events": ["recording.eaten"]}, "events"),
        ({"events": ["*", "recording.created"]}, "events"),
        ({"events": ["*", "*"]}, "events"),
        ({"events": ["recording.created"] * 2}, "events"),
        ({"events": ["recording.created"] * 101}, "events"),
        ({"events": [7]}, "events[0]"),
        ({"description": "☂" * 501}, "description"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"k": "v" * 17_000}}, "metadata"),
    ],
)
async def test_what_cannot_be_registered_is_400_with_its_field(
    client: httpx.AsyncClient, tenant: Tenant, body: dict[str, Any], param: str
) -> None:
    whole = {"url": URL, "events": ["*"], **body}
    refused = await client.post("/v1/webhooks", json=whole, headers=tenant.headers)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    made = await add(client, tenant)
    refused = await client.patch(f"/v1/webhooks/{made['id']}", json=body, headers=tenant.headers)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert len((await client.get("/v1/webhooks", headers=tenant.headers)).json()["data"]) == 1


async def test_an_unknown_event_type_is_told_with_the_known_ones(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    refused = await client.post(
        "/v1/webhooks", json={"url": URL, "events": ["recording.eaten"]}, headers=tenant.headers
    )
    message = refused.json()["error"]["message"]
    assert "`recording.eaten`" in message
    assert "no pattern" in message
    assert "transcription.completed" in message


async def test_patch_keeps_what_is_absent_and_clears_what_is_null(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    made = await add(client, tenant, description="a", metadata={"b": 1})
    shown = {name: value for name, value in made.items() if name != "secret"}
    assert await changed(client, tenant, made["id"]) == shown
    other = await changed(client, tenant, made["id"], url="https://other.example", events=["ota.failed"])
    assert (other["url"], other["events"]) == ("https://other.example", ["ota.failed"])
    assert (other["description"], other["metadata"]) == ("a", {"b": 1})
    cleared = await changed(client, tenant, made["id"], description=None, metadata=None)
    assert (cleared["description"], cleared["metadata"]) == (None, {})
    assert cleared["updated_at"] > made["updated_at"]


async def test_a_disabled_webhook_is_enabled_without_its_failures(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    made = await add(client, tenant)
    disabled = await changed(client, tenant, made["id"], status="disabled")
    assert (disabled["status"], disabled["disabled_reason"]) == ("disabled", "request")
    assert made["id"] in await queued(ports, END_PENDING)
    async with ports.database.acquire() as connection:
        await connection.execute(FAILING, tenant.test_world, made["id"])
    again = await changed(client, tenant, made["id"], status="disabled", description="b")
    assert again["disabled_reason"] == "failing"
    enabled = await changed(client, tenant, made["id"], status="enabled")
    assert (enabled["status"], enabled["disabled_reason"]) == ("enabled", None)
    failures, since, paused_until = await health(ports, tenant, made["id"])
    assert (failures, since) == (0, None)
    assert paused_until is not None, "the circuit of a webhook that was never verified is open"
    async with ports.database.acquire() as connection:
        await connection.execute(VERIFY, tenant.test_world, made["id"])
    await changed(client, tenant, made["id"], status="disabled")
    enabled = await changed(client, tenant, made["id"], status="enabled")
    assert enabled["verified_at"] is not None
    assert await health(ports, tenant, made["id"]) == (0, None, None)


async def test_another_url_begins_without_the_failures_of_the_former(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    made = await add(client, tenant)
    async with ports.database.acquire() as connection:
        await connection.execute(FAILING.replace("'disabled'", "'enabled'"), tenant.test_world, made["id"])
        await connection.execute("UPDATE webhooks SET disabled_reason = NULL WHERE id = $1", made["id"])
    await changed(client, tenant, made["id"], description="b")
    assert (await health(ports, tenant, made["id"]))[0] == 7
    async with ports.database.acquire() as connection:
        await connection.execute(VERIFY, tenant.test_world, made["id"])
    other = await changed(client, tenant, made["id"], url="https://other.example")
    assert other["verified_at"] is None
    failures, since, paused_until = await health(ports, tenant, made["id"])
    assert (failures, since) == (0, None)
    assert paused_until is not None, "the circuit is open until the receiver at the new URL has answered"


async def test_after_two_rotations_the_newest_two_secrets_are_valid(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    made = await add(client, tenant)
    path = f"/v1/webhooks/{made['id']}/rotate-secret"
    first, second = [(await client.post(path, headers=tenant.headers)).json() for _ in range(2)]
    for rotated in (first, second):
        assert set(rotated) == FIELDS | {"secret", "previous_secret_until"}
        until, at = (
            datetime.fromisoformat(rotated[each]) for each in ("previous_secret_until", "updated_at")
        )
        assert until - at == timedelta(hours=24)
    valid, ends = await stored_secrets(ports, tenant, made["id"])
    assert valid == [second["secret"], first["secret"]]
    assert made["secret"] not in valid
    assert ends is not None
    assert abs(ends - datetime.fromisoformat(second["previous_secret_until"])) < timedelta(milliseconds=1)


async def test_repeats_get_the_secret_again_until_the_webhook_is_deleted(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    headers = {**tenant.headers, "Idempotency-Key": "once"}
    body = {"url": URL, "events": ["*"]}
    first = await client.post("/v1/webhooks", json=body, headers=headers)
    second = await client.post("/v1/webhooks", json=body, headers=headers)
    assert second.json() == first.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    path = f"/v1/webhooks/{first.json()['id']}"
    headers["Idempotency-Key"] = "rotated"
    rotations = [await client.post(f"{path}/rotate-secret", headers=headers) for _ in range(2)]
    assert rotations[0].json() == rotations[1].json()
    assert len((await client.get("/v1/webhooks", headers=tenant.headers)).json()["data"]) == 1
    await client.delete(path, headers=tenant.headers)
    assert (await client.post(f"{path}/rotate-secret", headers=headers)).status_code == 404
    headers["Idempotency-Key"] = "once"
    assert (await client.post("/v1/webhooks", json=body, headers=headers)).status_code == 404


async def test_a_deleted_webhook_is_gone_at_once_and_removed_by_a_job(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    made = await add(client, tenant)
    path = f"/v1/webhooks/{made['id']}"
    assert (await client.delete(path, headers=tenant.headers)).status_code == 204
    assert made["id"] in await queued(ports, REMOVE)
    for method, tail in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate-secret")):
        assert (await client.request(method, path + tail, headers=tenant.headers)).status_code == 404
    assert (await client.get("/v1/webhooks", headers=tenant.headers)).json()["data"] == []


async def test_the_audit_log_tells_each_change_without_secrets(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    made = await add(client, tenant, description="a", metadata={"private": "value"})
    await changed(client, tenant, made["id"], url=f"{URL}2", events=["ota.failed"], metadata={"private": 2})
    await changed(client, tenant, made["id"], events=["ota.failed"])
    rotated = await client.post(f"/v1/webhooks/{made['id']}/rotate-secret", headers=tenant.headers)
    await client.delete(f"/v1/webhooks/{made['id']}", headers=tenant.headers)
    told = await entries(client, tenant, made["id"])
    assert [each["action"] for each in told] == [
        f"webhook.{verb}" for verb in ("created", "updated", "secret_rotated", "deleted")
    ]
    created, updated, rotation, deleted = told
    shown = {
        "url": "https://hooks.receiver.example/…",
        "events": ["*"],
        "description": "a",
        "status": "enabled",
        "disabled_reason": None,
    }
    assert (created["before"], created["after"]) == (None, shown)
    assert updated["before"] == {"url": "https://hooks.receiver.example/…", "events": ["*"]}
    assert updated["after"] == {"url": "https://hooks.receiver.example/…", "events": ["ota.failed"]}
    assert rotation["after"] == {"previous_secret_until": rotated.json()["previous_secret_until"]}
    assert (deleted["before"], deleted["after"]) == (shown | {"events": ["ota.failed"]}, None)
    text = str(told)
    assert not [each for each in ("whsec_", "s3cret", "9f8e7d", "private") if each in text]
