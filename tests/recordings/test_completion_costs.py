"""What an answer to upload-complete waits for: docs/architecture.md draws these steps."""

from __future__ import annotations

import os
from typing import Any

import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.embedded.s3.endpoint import StoreApp
from lapel.embedded.s3.protocol.request import Request
from lapel.foundation.database import pool
from lapel.foundation.database.connection import PooledConnection
from tests.recordings.support import Device, sha256
from tests.support.client import api_client
from tests.support.running import running_apart
from tests.support.tenants import make_tenant

UPLOADS = 5


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each statement, request to the store and sync of a server that starts later, in their order.

    A statement is BEGIN, COMMIT or `statement`.
    """
    done: list[str] = []

    class Watched(PooledConnection):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.add_query_logger(lambda each: done.append(_kind(each.query)))

    async def serve(store: StoreApp, request: Request) -> None:
        done.append(f"{request.method}{' copy' * (b'x-amz-copy-source' in request.headers)}")
        await serve_really(store, request)

    def sync(fd: int) -> None:
        done.append("sync")
        sync_really(fd)

    serve_really, sync_really = StoreApp._serve, os.fsync
    monkeypatch.setattr(pool, "PooledConnection", Watched)
    monkeypatch.setattr(StoreApp, "_serve", serve)
    monkeypatch.setattr(os, "fsync", sync)
    return done


def _kind(query: str) -> str:
    return query.strip(";") if query in ("BEGIN;", "COMMIT;") else "statement"


async def test_upload_complete_of_a_small_object_waits_for_eight_statements_and_two_requests_with_five_syncs(
    steps: list[str], postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with (
        running_apart(postgres, tmp_path_factory, "completion_costs") as live,
        api_client(live.url) as client,
    ):
        tenant = await make_tenant(live.ports)
        device = Device(client, tenant, tenant.headers)
        # The first one also makes the folders of the project. What the server does beside a request, such as
        # noting the use of a key, can only add steps: the shortest list has none of it.
        lists = [await _completed(device, steps) for _ in range(UPLOADS)]
    shortest = min(lists[1:], key=len)
    # HEAD and the policy of uploads wait at the same time, so either of them may be the first.
    assert sorted(shortest[:3]) == ["HEAD", "statement", "statement"]
    # PostgreSQL's own sync, of the one transaction that writes, is not counted here.
    assert shortest[3:] == ["PUT copy", *["sync"] * 5, "BEGIN", *["statement"] * 6, "COMMIT"]


async def _completed(device: Device, steps: list[str]) -> list[str]:
    """The steps of completing an upload, without the later deletion of what was staged."""
    content = os.urandom(5_000)
    recording_id = await device.recording()
    upload = await device.start(recording_id, file_size_bytes=len(content), sha256=sha256(content))
    await device.put(upload, content)
    steps.clear()
    await device.complete(recording_id)
    return [each for each in steps if each not in ("DELETE", "POST")]
