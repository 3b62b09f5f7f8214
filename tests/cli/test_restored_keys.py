"""A key that was revoked after the backup stays dead, however often the backup is restored."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.storage.object_names import LEDGER
from lapel.slices.projects.revocations.service import KeyRevocations
from tests.support.client import api_client
from tests.support.postgres import create_database, drop_database
from tests.support.running import ACCESS_KEY, SECRET_KEY, Running, running
from tests.support.serving import run
from tests.support.tenants import bearer, make_tenant

Json = dict[str, Any]
RESTORED = "restored_keys"


class Clinic:
    """An installation with its own database, in whose bucket each restore finds the ledger."""

    def __init__(self, live: Running, client: httpx.AsyncClient, key: str, folder: Path) -> None:
        self.live, self.client, self.master, self.folder = live, client, bearer(key), folder

    async def post(self, path: str, body: Json, key: Json | None = None) -> Json:
        headers = bearer(key["key"]) if key else self.master
        answer = await self.client.post(f"/v1{path}", json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    async def key(self) -> Json:
        return await self.post("/api-keys", {"kind": "secret"})

    async def revoke(self, key: Json, query: str = "") -> None:
        path = f"/v1/api-keys/{key['id']}{query}"
        assert (await self.client.delete(path, headers=self.master)).status_code == 204

    async def command(self, *arguments: str | Path, database: str) -> subprocess.CompletedProcess[str]:
        env = {
            "LAPEL_DATABASE_URL": database,
            "LAPEL_SECRET": str(self.live.settings.secret),
            "LAPEL_S3_ENDPOINT": str(self.live.settings.s3_endpoint),
            "LAPEL_S3_ADDRESSING": "path",
            "LAPEL_S3_ACCESS_KEY_ID": ACCESS_KEY,
            "LAPEL_S3_SECRET_ACCESS_KEY": SECRET_KEY,
            "LAPEL_DATA_DIR": str(self.folder / "none"),
        }
        return await asyncio.to_thread(run, *arguments, env=env)

    async def ledger(self) -> list[str]:
        """The names of the objects that tell of ends."""
        pages = self.live.ports.store.pages(LEDGER)
        return [info.key async for page in pages for info in page if "/keys/" in info.key]

    async def tell(self) -> None:
        """What the worker does within a minute."""
        await self.live.services[KeyRevocations].tell()


@pytest.fixture
async def clinic(quick_folder: Path, fresh_database: str) -> AsyncGenerator[Clinic]:
    async with running(quick_folder / "data", fresh_database) as live, api_client(live.url) as client:
        yield Clinic(live, client, (await make_tenant(live.ports)).test_key, quick_folder)


@pytest.fixture
def target(postgres: EmbeddedPostgres) -> Generator[str]:
    yield create_database(postgres, RESTORED)
    drop_database(postgres, RESTORED)


@asynccontextmanager
async def served(clinic: Clinic, database: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with running(clinic.folder / "restored", database) as live, api_client(live.url) as client:
        yield client


async def works(client: httpx.AsyncClient, token: str) -> bool:
    status = (await client.get("/v1/whoami", headers=bearer(token))).status_code
    assert status in (200, 401)
    return status == 200


async def test_what_ended_after_the_backup_ends_again_with_every_restore(
    clinic: Clinic, postgres: EmbeddedPostgres, target: str
) -> None:
    kept, early, revoked, issuer, rotated = [await clinic.key() for _ in range(5)]
    await clinic.revoke(early)
    await clinic.tell()
    person = (await clinic.post("/end-users", {}))["id"]
    issued = (await clinic.post(f"/end-users/{person}/token", {}, issuer))["token"]
    hook = {"url": "https://example.com/hook", "events": ["recording.uploaded"]}
    webhook = (await clinic.post("/webhooks", hook, issuer))["id"]
    copy, database = clinic.folder / "copy", str(clinic.live.settings.database_url)
    assert (await clinic.command("backup", copy, "--json", database=database)).returncode == 0
    newer, gone = await clinic.key(), await clinic.key()
    for each in (revoked, gone):
        await clinic.revoke(each)
    await clinic.revoke(issuer, "?issued=true")
    successor = await clinic.post(f"/api-keys/{rotated['id']}/rotate", {"overlap_seconds": 0})
    await clinic.tell()

    # The first restore is broken off at the end. A given database can be served all the same.
    manifest = copy / "backup.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole.replace(b'"objects": 0', b'"objects": 1'))
    done = await clinic.command("restore", copy, database=target)
    assert (done.returncode, "the backup is damaged" in done.stderr) == (1, True), done.stderr
    for each in (revoked, issuer, rotated):
        assert f"key {each['id']} worked again: " in done.stderr
    assert done.stderr.count(f"key {gone['id']} is newer than this database: ") == 1
    for each in (kept, early, newer, successor):
        assert each["id"] not in done.stderr
    async with served(clinic, target) as client:
        tokens = [each["key"] for each in (kept, early, revoked, issuer, rotated, newer, gone, successor)]
        assert [await works(client, each) for each in (*tokens, issued)] == [True, *[False] * 8]
        shown = await client.get(f"/v1/webhooks/{webhook}", headers=clinic.master)
        assert shown.json()["status"] == "disabled", shown.text

    # The second one finds a bucket without a ledger, and lets it tell what the backup knows.
    manifest.write_bytes(whole)
    drop_database(postgres, RESTORED)
    create_database(postgres, RESTORED)
    for name in await clinic.ledger():
        await clinic.live.ports.store.delete(name)
    done = await clinic.command("restore", copy, "--json", database=target)
    assert json.loads(done.stdout)["keys"] == {"working": 6, "ended_again": 0, "newer": 0}
    assert [name.split("/")[4:6] for name in await clinic.ledger()] == [[early["id"], "revoked"]]
