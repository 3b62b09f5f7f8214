"""What one upload may have at most, by its media's type, when the URL was asked for without a size."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.recordings.support import Device, objects, until_none
from tests.support.client import api_client
from tests.support.running import Running, running
from tests.support.tenants import make_tenant

CEILINGS = {"audio": 3000, "image": 1000, "video": 5000}


@pytest.fixture
async def strict(fresh_database: str, data_folder: Callable[[str], Path]) -> AsyncGenerator[Running]:
    """A server with small ceilings."""
    ceilings: dict[str, Any] = {
        f"LAPEL_MAX_{name.upper()}_BYTES": str(most) for name, most in CEILINGS.items()
    }
    async with running(data_folder("ceilings"), fresh_database, **ceilings) as started:
        yield started


@pytest.fixture
async def recorder(strict: Running) -> AsyncGenerator[Device]:
    """A client of it."""
    tenant = await make_tenant(strict.ports)
    async with api_client(strict.url) as client:
        yield Device(client, tenant, tenant.headers)


@pytest.mark.parametrize("kind", CEILINGS)
async def test_the_store_takes_what_the_type_may_have_and_not_a_byte_more(
    recorder: Device, strict: Running, kind: str
) -> None:
    recording_id = await recorder.recording()
    upload = await recorder.start(recording_id, type=kind)
    await recorder.put(upload, bytes(CEILINGS[kind] + 1), 400)
    assert await objects(strict.ports, f"staging/{recorder.tenant.project_id}") == []
    await recorder.complete(recording_id, 409)
    await recorder.start(recording_id, 400, type=kind, file_size_bytes=CEILINGS[kind] + 1)
    await recorder.put(upload, bytes(CEILINGS[kind]))
    assert (await recorder.complete(recording_id))["media"][0]["file_size_bytes"] == CEILINGS[kind]


async def test_what_another_store_took_beyond_it_is_refused_and_removed_at_completion(
    recorder: Device, strict: Running
) -> None:
    recording_id = await recorder.recording()
    await recorder.start(recording_id)
    prefix = f"staging/{recorder.tenant.project_id}"
    async with strict.ports.database.acquire() as connection:
        staged: str = await connection.fetchval(
            "SELECT staging_key FROM upload_attempts WHERE world_id = $1", recorder.tenant.test_world
        )
    assert staged.startswith(prefix)
    # A store that knows no ceilings: the bytes are there, however they came.
    await strict.ports.store.put(staged, bytes(CEILINGS["audio"] + 1))
    refusal = await recorder.complete(recording_id, 409)
    assert refusal["error"]["code"] == "integrity_failure"
    await until_none(strict.ports, prefix)
    assert (await recorder.read(recording_id))["status"] == "integrity_failure"
