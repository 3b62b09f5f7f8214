"""Every write leaves one entry, and what is refused, repeated or changes nothing leaves none.

That each operation leaves the entry that it declares, whoever calls it, is in
tests/contract/test_authorization.py; that a refused call changes no row of the world, too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from lapel.foundation.http.operations import Operation
from lapel.foundation.ports import Ports
from lapel.slices.projects.operator import OperatorKeys
from lapel.slices.projects.service import Projects
from lapel.slices.transcription.views import stored_segments
from lapel.slices.transcription.work import lifecycle
from tests.support.declared import declared_operations
from tests.support.spoken import TRANSCRIPT
from tests.support.tenants import Tenant

PAGE = Path(__file__).parents[2] / "docs" / "audit.md"
WORLDS = "SELECT id FROM worlds WHERE project_id = $1 ORDER BY mode"
ENTRIES = """
SELECT a.actor_kind, a.action, a.resource_type, a.resource_id, d.details FROM audit_log a
JOIN audit_details d ON d.world_id = a.world_id AND d.entry_id = a.id
WHERE a.world_id = $1 ORDER BY a.id
"""


@pytest.mark.parametrize("operation", declared_operations(), ids=lambda each: each.name)
def test_a_write_declares_its_entry_or_why_it_has_none(operation: Operation) -> None:
    declared = [each for each in (operation.audit, operation.unaudited) if each]
    assert len(declared) == (0 if operation.method == "GET" else 1)
    if operation.audit:
        assert re.fullmatch(r"[a-z_]+\.[a-z_]+(ed|ound|sent)", operation.audit)
    if operation.unaudited:
        assert operation.unaudited.endswith(".")


def test_the_page_tells_every_action() -> None:
    told = set(
        re.findall(r"`([a-z_]+\.[a-z_]+)`", PAGE.read_text().partition("## Actions")[2].partition("## ")[0])
    )
    declared = {each.audit for each in declared_operations() if each.audit}
    of_providers = {"transcription.completed", "transcription.failed", "summary.completed", "summary.failed"}
    of_commands = {"project.created", "project.restored", "provider.updated", "provider.removed"}
    of_commands |= {"signing_key.prepared", "signing_key.rotated"}
    of_others = {"webhook.disabled", "rollout.halted", "recording.upload_refused", "signing_key.created"}
    assert told == declared | of_providers | of_commands | of_others


class Repeats:
    """Requests of a secret key, and the entries that each leaves."""

    def __init__(self, client: httpx.AsyncClient, tenant: Tenant, ports: Ports) -> None:
        self.client, self.tenant, self.ports = client, tenant, ports

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[httpx.Response, int]:
        """The answer, and the number of new entries."""
        before = await self.count()
        answer = await self.client.request(
            method, path, json=body, headers={**self.tenant.headers, **headers}
        )
        return answer, await self.count() - before

    async def count(self) -> int:
        async with self.ports.database.acquire() as connection:
            return len(await connection.fetch(ENTRIES, self.tenant.test_world))

    async def expect(self, entries: int, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer, found = await self.ask(method, path, body, **headers)
        assert (answer.is_success, found) == (True, entries), (method, path, answer.text)
        return answer.json() if answer.content else None


@pytest.fixture
def repeats(client: httpx.AsyncClient, tenant: Tenant, ports: Ports) -> Repeats:
    return Repeats(client, tenant, ports)


async def test_a_replayed_request_leaves_no_second_entry(repeats: Repeats) -> None:
    once = {"Idempotency-Key": "once"}
    for path, body in (("/v1/end-users", {}), ("/v1/api-keys", {"scopes": ["recordings:read"]})):
        first = await repeats.expect(1, "POST", path, body, **once)
        assert await repeats.expect(0, "POST", path, body, **once) == first
        once = {"Idempotency-Key": "twice"}


async def test_what_changes_nothing_leaves_no_entry(repeats: Repeats) -> None:
    person = (await repeats.expect(1, "POST", "/v1/end-users", {}))["id"]
    device = (await repeats.expect(1, "POST", "/v1/devices", {"serial_number": "AUDITED1"}))["id"]
    await repeats.expect(0, "POST", "/v1/devices", {"serial_number": "AUDITED1"})
    at = f"/v1/devices/{device}"
    await repeats.expect(0, "POST", f"{at}/unbind")
    await repeats.expect(1, "POST", f"{at}/bind", {"end_user_id": person})
    await repeats.expect(1, "POST", f"{at}/unbind")
    await repeats.expect(0, "POST", f"{at}/unbind")
    await repeats.expect(0, "PATCH", at, {})
    await repeats.expect(0, "PATCH", f"/v1/end-users/{person}", {})
    await repeats.expect(0, "DELETE", f"/v1/end-users/{person}/token")
    await repeats.expect(0, "DELETE", f"{at}/ota")
    key = (await repeats.expect(1, "POST", "/v1/api-keys", {"scopes": ["recordings:read"]}))["id"]
    await repeats.expect(1, "DELETE", f"/v1/api-keys/{key}")
    await repeats.expect(0, "DELETE", f"/v1/api-keys/{key}")
    await repeats.expect(1, "DELETE", f"/v1/api-keys/{key}?issued=true")
    await repeats.expect(0, "DELETE", f"/v1/api-keys/{key}?issued=true")


async def test_an_upload_is_one_entry_however_often_it_is_completed(repeats: Repeats) -> None:
    person = (await repeats.expect(1, "POST", "/v1/end-users", {}))["id"]
    recording = (await repeats.expect(1, "POST", "/v1/recordings", {"end_user_id": person}))["id"]
    at = f"/v1/recordings/{recording}"
    upload = await repeats.expect(1, "POST", f"{at}/upload-url", {"content_type": "audio/ogg"})
    _, found = await repeats.ask("POST", f"{at}/upload-complete", {})  # nothing is uploaded
    assert found == 0
    await repeats.client.put(upload["upload_url"], content=b"OggS1234", headers=upload["headers"])
    await repeats.expect(1, "POST", f"{at}/upload-complete", {})
    await repeats.expect(0, "POST", f"{at}/upload-complete", {})
    await repeats.expect(1, "DELETE", at)


async def test_an_upload_that_is_refused_and_marked_as_failed_is_an_entry(repeats: Repeats) -> None:
    person = (await repeats.expect(1, "POST", "/v1/end-users", {}))["id"]
    recording = (await repeats.expect(1, "POST", "/v1/recordings", {"end_user_id": person}))["id"]
    at = f"/v1/recordings/{recording}"
    upload = await repeats.expect(1, "POST", f"{at}/upload-url", {"content_type": "audio/ogg"})
    await repeats.client.put(upload["upload_url"], content=b"OggS1234", headers=upload["headers"])
    for entries in (1, 0):  # a repeat of the request changes nothing
        answer, found = await repeats.ask("POST", f"{at}/upload-complete", {"content_sha256": "0" * 64})
        assert (answer.status_code, found) == (409, entries)
    shown = await repeats.expect(0, "GET", at)
    assert shown["status"] == "integrity_failure"
    log = (await repeats.expect(0, "GET", f"/v1/audit-log?resource_id={recording}"))["data"]
    assert [each["action"] for each in log] == [
        "recording.upload_refused", "recording.upload_started", "recording.created",
    ]  # fmt: skip


async def test_keys_tell_before_and_after_and_never_the_secret(repeats: Repeats, ports: Ports) -> None:
    made = await repeats.expect(1, "POST", "/v1/api-keys", {"scopes": ["recordings:read"], "name": "app"})
    rotated = await repeats.expect(1, "POST", f"/v1/api-keys/{made['id']}/rotate", {})
    await repeats.expect(1, "DELETE", f"/v1/api-keys/{rotated['id']}")
    async with ports.database.acquire() as connection:
        rows = await connection.fetch(ENTRIES, repeats.tenant.test_world)
    assert [(row["action"], row["resource_id"]) for row in rows] == [
        ("key.created", made["id"]),
        ("key.rotated", made["id"]),
        ("key.revoked", rotated["id"]),
    ]
    text = "".join(row["details"] for row in rows)
    for secret in (made["key"], rotated["key"]):
        assert secret not in text
        assert secret[-4:] not in text
    assert '"scopes":["recordings:read"]' in rows[0]["details"]
    assert f'"rotated_to":"{rotated["id"]}"' in rows[1]["details"]
    assert '"revoked_at":null' in rows[2]["details"]


async def test_commands_of_the_operator_are_entries_too(ports: Ports) -> None:
    project = await Projects(ports).create("Audited")
    keys = OperatorKeys(ports)
    made = await keys.create(mode="live", project_id=project.id)
    rotated = await keys.rotate(made.id, 0)
    await keys.revoke(rotated.id)
    await keys.revoke(rotated.id)
    async with ports.database.acquire() as connection:
        worlds = await connection.fetch(
            "SELECT id FROM worlds WHERE project_id = $1 ORDER BY mode", project.id
        )
        live, test = [await connection.fetch(ENTRIES, row["id"]) for row in worlds]
    assert [row["action"] for row in live] == ["project.created", "key.created", "key.rotated", "key.revoked"]
    assert [row["action"] for row in test] == ["project.created"]
    assert {row["actor_kind"] for row in (*live, *test)} == {"operator"}


async def test_operations_that_need_a_certain_state(repeats: Repeats) -> None:
    """The operations of CHANGING_NOTHING, on things that they change."""
    person = (await repeats.expect(1, "POST", "/v1/end-users", {}))["id"]
    new = {"serial_number": "AUDITED1", "model": "bota_pin"}
    device = (await repeats.expect(1, "POST", "/v1/devices", new))["id"]
    project = repeats.tenant.project_id
    for path in ("/v1/config", f"/v1/end-users/{person}/config", f"/v1/devices/{device}/config"):
        await repeats.expect(1, "PATCH", f"{path}/upload", {"allow_roaming": True})
        await repeats.expect(1, "DELETE", f"{path}/upload")
        await repeats.expect(0, "DELETE", f"{path}/upload")
    await repeats.expect(1, "PUT", f"/v1/projects/{project}/config/upload", {"allow_roaming": True})
    release = await made_release(repeats)
    at = f"/v1/firmware-releases/{release}"
    await repeats.expect(1, "POST", f"{at}/release")
    await repeats.expect(0, "POST", f"{at}/release")
    await repeats.expect(1, "POST", f"/v1/devices/{device}/ota", {"firmware_release_id": release})
    await repeats.expect(1, "DELETE", f"/v1/devices/{device}/ota")
    rollout = (await repeats.expect(1, "POST", f"{at}/rollouts", {"model": "bota_pin"}))["id"]
    for verb, entries in (("resume", 0), ("pause", 1), ("pause", 0), ("resume", 1)):
        await repeats.expect(entries, "POST", f"{at}/rollouts/{rollout}/{verb}")


async def made_release(repeats: Repeats) -> str:
    answer = await repeats.client.post(
        "/v1/firmware-releases",
        data={"version": "1.0.0", "model": "bota_pin"},
        files={"bin": ("update.bin", b"firmware")},
        headers=repeats.tenant.headers,
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def test_what_a_provider_completes_is_its_entry(repeats: Repeats, ports: Ports) -> None:
    world = repeats.tenant.test_world
    person = (await repeats.expect(1, "POST", "/v1/end-users", {}))["id"]
    recording = (await repeats.expect(1, "POST", "/v1/recordings", {"end_user_id": person}))["id"]
    at = f"/v1/recordings/{recording}"
    for code in (None, "provider_error"):
        if code is None:
            upload = await repeats.expect(1, "POST", f"{at}/upload-url", {"content_type": "audio/ogg"})
            await repeats.client.put(upload["upload_url"], content=b"OggS1234", headers=upload["headers"])
            await repeats.expect(1, "POST", f"{at}/upload-complete", {})
        made = (await repeats.expect(1, "POST", "/v1/transcriptions", {"recording_id": recording}))["id"]
        async with ports.database.transaction() as connection:
            await lifecycle.start(connection, ports, world, made)
            if code is None:
                segments = stored_segments(TRANSCRIPT.segments)
                await lifecycle.complete(connection, ports, world, made, TRANSCRIPT, segments)
            else:
                await lifecycle.fail(connection, ports, world, made, "provider_error", "It does not answer.")
        async with ports.database.acquire() as connection:
            last = (await connection.fetch(ENTRIES, world))[-1]
        ended = "transcription.completed" if code is None else "transcription.failed"
        assert (last["actor_kind"], last["action"], last["resource_id"]) == ("provider", ended, made)
