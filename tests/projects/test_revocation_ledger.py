"""A restored database revives keys; the bucket and the exported ledger know which of them had ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from lapel.app import open_services
from lapel.cli.erase import ledger_files
from lapel.cli.erase.reconciliation import end_keys_again
from lapel.cli.shared.faults import CommandError
from lapel.foundation.ports import Ports
from lapel.foundation.storage.object_names import LEDGER
from lapel.slices.projects.revocations import revocation_lines
from lapel.slices.projects.revocations.revocation_lines import RevocationLine
from lapel.slices.projects.revocations.service import KeyRevocations
from tests.support.tenants import Tenant, bearer

Json = dict[str, Any]
# What a database of before the revocations has.
RESTORE = """
UPDATE api_keys SET revoked_at = NULL, expires_at = NULL, rotated_to = NULL, issued_revoked_at = NULL,
    told_ends = NULL
WHERE world_id = $1
"""
EXPIRE = "UPDATE api_keys SET expires_at = $3 WHERE world_id = $1 AND id = $2"
FORGET = "DELETE FROM api_keys WHERE world_id = $1 AND id = $2"
RESTORE_WEBHOOKS = "UPDATE webhooks SET status = 'enabled', disabled_reason = NULL WHERE world_id = $1"
UNTOLD = "UPDATE api_keys SET told_ends = NULL WHERE world_id = $1 AND id = $2"
ENTRIES = "SELECT actor_kind, action FROM audit_log WHERE world_id = $1 AND resource_id = $2 ORDER BY id"


class Operator:
    """A project whose database is restored."""

    def __init__(self, client: httpx.AsyncClient, ports: Ports, tenant: Tenant) -> None:
        self.client = client
        self.ports = ports
        self.tenant = tenant
        self.ledger = open_services(ports)[KeyRevocations]

    async def post(self, path: str, body: Json) -> Json:
        answer = await self.client.post(f"/v1{path}", json=body, headers=self.tenant.headers)
        assert answer.is_success, answer.text
        return answer.json()

    async def key(self) -> Json:
        return await self.post("/api-keys", {"scopes": ["recordings:read"]})

    async def revoke(self, key: Json, query: str = "") -> None:
        path = f"/v1/api-keys/{key['id']}{query}"
        assert (await self.client.delete(path, headers=self.tenant.headers)).status_code == 204

    async def works(self, token: str) -> bool:
        return (await self.client.get("/v1/whoami", headers=bearer(token))).status_code == 200

    async def listed(self, key: Json) -> Json:
        keys = (await self.client.get("/v1/api-keys", headers=self.tenant.headers)).json()["data"]
        return next(each for each in keys if each["id"] == key["id"])

    async def webhook_status(self, webhook_id: str) -> str:
        answer = await self.client.get(f"/v1/webhooks/{webhook_id}", headers=self.tenant.headers)
        return answer.json()["status"]

    async def execute(self, statement: str, *arguments: object) -> None:
        async with self.ports.database.acquire() as connection:
            await connection.execute(statement, self.tenant.test_world, *arguments)

    async def own(self, pages: AsyncIterator[list[RevocationLine]]) -> AsyncIterator[list[RevocationLine]]:
        """The lines of this project; other tests have theirs in the same bucket."""
        async for page in pages:
            yield [each for each in page if each.project_id == self.tenant.project_id]

    async def end_again(
        self, file: Path | None, *, dry_run: bool = False
    ) -> tuple[tuple[int, int], list[str]]:
        read = ledger_files.read_ends(file) if file else revocation_lines.read(self.ports.store)
        said: list[str] = []
        found = await end_keys_again(self.ports, self.own(read), said.append, dry_run=dry_run)
        return found, said


@pytest.fixture
def operator(client: httpx.AsyncClient, ports: Ports, tenant: Tenant) -> Operator:
    return Operator(client, ports, tenant)


@pytest.mark.parametrize("source", ["bucket", "file"])
async def test_a_revoked_key_that_a_restore_revives_is_revoked_again(
    operator: Operator, tmp_path: Path, source: str
) -> None:
    kept, revoked = await operator.key(), await operator.key()
    await operator.revoke(revoked)
    await operator.ledger.tell()
    file = tmp_path / "ledger.ndjson" if source == "file" else None
    if file is not None:
        await ledger_files.export(operator.ports, file)
        assert revoked["key"] not in file.read_text()
    assert await operator.end_again(file) == ((0, 0), [])
    await operator.execute(RESTORE)
    operator.ports.revocations.cache.clear()
    assert [await operator.works(each["key"]) for each in (kept, revoked)] == [True, True]
    (back, newer), said = await operator.end_again(file, dry_run=True)
    assert (back, newer) == (1, 0)
    assert f"key {revoked['id']} worked again: it was revoked" in said[0]
    assert await operator.works(revoked["key"])
    assert (await operator.end_again(file))[0] == (1, 0)
    assert [await operator.works(each["key"]) for each in (kept, revoked)] == [True, False]
    assert (await operator.end_again(file))[0] == (0, 0)
    async with operator.ports.database.acquire() as connection:
        entries = await connection.fetch(ENTRIES, operator.tenant.test_world, revoked["id"])
    assert tuple(entries[-1]) == ("operator", "key.revoked")


async def test_a_rotated_key_keeps_its_overlap_and_no_more(operator: Operator) -> None:
    running, over = await operator.key(), await operator.key()
    await operator.post(f"/api-keys/{running['id']}/rotate", {"overlap_seconds": 3600})
    await operator.post(f"/api-keys/{over['id']}/rotate", {"overlap_seconds": 0})
    until = datetime.fromisoformat((await operator.listed(running))["expires_at"])
    await operator.ledger.tell()
    await operator.execute(RESTORE)
    assert (await operator.end_again(None))[0] == (2, 0)
    shown = await operator.listed(running)
    assert shown["revoked_at"] is None
    assert timedelta(0) <= datetime.fromisoformat(shown["expires_at"]) - until < timedelta(seconds=2)
    assert await operator.works(running["key"])
    assert not await operator.works(over["key"])


async def test_what_the_key_issued_ends_again(operator: Operator) -> None:
    person = (await operator.post("/end-users", {}))["id"]
    issuer = await operator.post("/api-keys", {"kind": "secret"})
    path = f"/v1/end-users/{person}/token"
    headers = bearer(issuer["key"])
    issued = (await operator.client.post(path, json={}, headers=headers)).json()["token"]
    hook = {"url": "https://example.com/restored", "events": ["*"]}
    made = (await operator.client.post("/v1/webhooks", json=hook, headers=headers)).json()["id"]
    await operator.revoke(issuer)
    await operator.ledger.tell()
    await operator.revoke(issuer, "?issued=true")  # later: a line of its own
    await operator.ledger.tell()
    assert await operator.webhook_status(made) == "disabled"
    await operator.execute(RESTORE)
    await operator.execute(RESTORE_WEBHOOKS)
    assert await operator.works(issued)
    assert await operator.webhook_status(made) == "enabled"
    found, said = await operator.end_again(None)
    assert found == (1, 0)
    assert "the tokens that it issued were revoked, and its webhooks disabled" in said[-1]
    assert not await operator.works(issued)
    assert await operator.webhook_status(made) == "disabled"


async def test_a_key_that_is_newer_than_the_backup_is_told(operator: Operator) -> None:
    newer = await operator.key()
    await operator.revoke(newer)
    await operator.ledger.tell()
    await operator.execute(FORGET, newer["id"])
    counted, told = await operator.end_again(None)
    assert counted == (0, 1)
    assert [each.partition(": it was revoked at ")[0] for each in told] == [
        f"key {newer['id']} is newer than this database"
    ]


async def test_a_repeat_writes_the_same_objects_without_a_secret(operator: Operator) -> None:
    revoked = await operator.key()
    await operator.revoke(revoked)
    prefix = f"{LEDGER}{operator.tenant.project_id}/test/keys/{revoked['id']}/"

    async def names() -> list[str]:
        return [info.key async for page in operator.ports.store.pages(prefix) for info in page]

    await operator.ledger.tell()
    told = await names()
    assert len(told) == 1
    await operator.execute(UNTOLD, revoked["id"])  # as if the worker died before it stored that it had told
    await operator.ledger.tell()
    assert await names() == told
    line = revocation_lines.line_of(told[0])
    assert line is not None
    assert (line.key_id, line.end) == (revoked["id"], "revoked")
    shown = datetime.fromisoformat((await operator.listed(revoked))["revoked_at"])
    assert timedelta(0) <= line.at - shown < timedelta(seconds=1)


async def test_an_export_keeps_what_a_restored_database_no_longer_knows(
    operator: Operator, tmp_path: Path
) -> None:
    """The file is written every hour, also after a restore, and the backup may be restored once more."""
    over, running, newer, later = [await operator.key() for _ in range(4)]
    for each in (over, newer):
        await operator.revoke(each)
    await operator.post(f"/api-keys/{running['id']}/rotate", {"overlap_seconds": 3600})
    file = tmp_path / "ledger.ndjson"
    await ledger_files.export(operator.ports, file)
    await operator.execute(RESTORE)
    await operator.execute(FORGET, newer["id"])
    assert (await operator.end_again(file))[0] == (2, 1)
    await operator.revoke(later)

    async def ends() -> list[tuple[str, str]]:
        read = operator.own(ledger_files.read_ends(file))
        return sorted([(line.key_id, line.end) async for page in read for line in page])

    expected = [(each["id"], "revoked") for each in (over, newer, later)] + [(running["id"], "retired")]
    for _ in range(2):
        await ledger_files.export(operator.ports, file)
        assert await ends() == sorted(expected)
    await operator.execute(RESTORE)
    assert (await operator.end_again(file))[0] == (3, 1)
    assert [await operator.works(each["key"]) for each in (over, running, later)] == [False, True, False]
    assert (await operator.listed(running))["expires_at"] is not None


async def test_an_export_keeps_the_sooner_end_of_a_key_that_was_rotated_again(
    operator: Operator, tmp_path: Path
) -> None:
    key = await operator.key()
    rotate = f"/api-keys/{key['id']}/rotate"
    successor = await operator.post(rotate, {"overlap_seconds": 30 * 86_400})
    before = (await operator.listed(key))["expires_at"]
    await operator.revoke(successor)
    await operator.post(rotate, {"overlap_seconds": 3600})
    sooner = (await operator.listed(key))["expires_at"]
    assert sooner < before
    file = tmp_path / "ledger.ndjson"
    await ledger_files.export(operator.ports, file)
    await operator.execute(EXPIRE, key["id"], datetime.fromisoformat(before))
    await ledger_files.export(operator.ports, file)
    assert (await operator.end_again(file))[0] == (1, 0)
    ends = datetime.fromisoformat((await operator.listed(key))["expires_at"])
    assert ends - datetime.fromisoformat(sooner) < timedelta(seconds=2)


async def test_an_export_keeps_erasures_and_holds_that_the_database_does_not_know(
    operator: Operator, tmp_path: Path
) -> None:
    person = (await operator.post("/end-users", {}))["id"]
    kept, gone = [(await operator.post("/recordings", {"end_user_id": person}))["id"] for _ in range(2)]
    hold = (await operator.post(f"/recordings/{kept}/hold", {"reason": "a case"}))["id"]
    await operator.client.delete(f"/v1/recordings/{gone}", headers=operator.tenant.headers)
    file = tmp_path / "ledger.ndjson"
    await ledger_files.export(operator.ports, file)
    known = file.read_text()
    lines = [line for line in known.splitlines() if gone in line or hold in line]
    assert len(lines) == 2
    unknown = [line.replace(gone, "rec_newer").replace(hold, "hold_newer") for line in lines]
    file.write_text(known + "\n".join(unknown) + "\n")
    for _ in range(2):
        await ledger_files.export(operator.ports, file)
        found = [line for line in file.read_text().splitlines() if operator.tenant.project_id in line]
        assert sorted(found) == sorted(lines + unknown)
    # The database decides of what it knows.
    await operator.client.delete(f"/v1/recordings/{kept}/hold", headers=operator.tenant.headers)
    await ledger_files.export(operator.ports, file)
    assert hold not in file.read_text()


async def test_a_damaged_ledger_is_not_replaced(operator: Operator, tmp_path: Path) -> None:
    await operator.revoke(await operator.key())
    file = tmp_path / "ledger.ndjson"
    await ledger_files.export(operator.ports, file)
    file.write_bytes(file.read_bytes()[:-20])
    before = file.read_bytes()
    with pytest.raises(CommandError, match="Name a new file, and keep this one"):
        await ledger_files.export(operator.ports, file)
    assert file.read_bytes() == before
    assert not await asyncio.to_thread(lambda: list(tmp_path.glob("*.unfinished")))


async def test_a_line_that_nobody_wrote_ends_nothing(operator: Operator, tmp_path: Path) -> None:
    key = await operator.key()
    world = f"{LEDGER}{operator.tenant.project_id}/test/keys/{key['id']}"
    for name in ("revoked/" + "9" * 30, "revoked/²", "revoked/-1", "revoked/", "ended/1", "revoked"):
        assert revocation_lines.line_of(f"{world}/{name}") is None
    file = tmp_path / "ledger.ndjson"
    line = {"key_id": key["id"], "project_id": operator.tenant.project_id, "mode": "test", "end": "retired"}
    file.write_text(json.dumps({**line, "at": "2027-01-01T00:00:00"}) + "\n")  # in which time zone?
    with pytest.raises(CommandError, match="line 1: this is no line of `lapel erase --export`"):
        await operator.end_again(file)
    assert await operator.works(key["key"])


async def test_after_a_restore_an_empty_bucket_is_told_of_every_end(operator: Operator) -> None:
    revoked = await operator.key()
    await operator.revoke(revoked)
    await operator.ledger.tell()
    prefix = f"{LEDGER}{operator.tenant.project_id}/test/keys/{revoked['id']}/"

    async def names() -> list[str]:
        return [info.key async for page in operator.ports.store.pages(prefix) for info in page]

    before = await names()
    assert len(before) == 1
    await operator.ports.store.delete(before[0])
    await operator.ledger.tell_again()
    assert await names() == before
