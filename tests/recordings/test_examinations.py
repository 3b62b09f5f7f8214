"""Many completions at once: some examine, the others wait, and nobody's share is somebody else's."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import httpx
import pytest

from lapel.foundation.core.admission import Admission
from lapel.foundation.database.pool import Database
from lapel.foundation.ports import Ports
from lapel.foundation.storage.client import ObjectStore
from lapel.slices.recordings.access import Reach
from lapel.slices.recordings.errors import UploadVerificationPending
from lapel.slices.recordings.uploads.completion import Completion
from lapel.slices.recordings.wire import CompleteUpload
from tests.recordings.support import Device, HeldStore, actor_of, objects
from tests.support.tenants import Tenant

LONG = 60.0  # seconds that no test waits for
WORDS = b"as it was said" * 100


class CountingStore(HeldStore):
    """How many read back at once, at most."""

    inside = 0
    most = 0

    async def sha256_of(self, key: str) -> tuple[int, str]:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            return await super().sha256_of(key)
        finally:
            self.inside -= 1


async def staged(device: Device) -> Reach:
    """A recording whose bytes are in the store."""
    recording_id = await device.recording()
    await device.put(await device.start(recording_id), WORDS)
    return Reach(device.tenant.test_world, recording_id)


@asynccontextmanager
async def completing(completion: Completion, device: Device, at: list[Reach]) -> AsyncGenerator[None]:
    """Completions under way, which all end well by the end of the block."""
    tasks = [
        asyncio.create_task(completion.complete(actor_of(device.tenant), each, CompleteUpload()))
        for each in at
    ]
    try:
        yield
        for task in tasks:
            assert (await task).status == "uploaded"
    finally:
        for task in tasks:
            task.cancel()


async def test_all_wait_their_turn_and_none_is_lost(device: Device, ports: Ports) -> None:
    store = CountingStore(ports.store)
    places = Admission(3, 3, patience=LONG)
    completion = Completion(replace(ports, store=cast("ObjectStore", store)), examining=places)
    async with completing(completion, device, [await staged(device) for _ in range(12)]):
        while store.most < 3:  # noqa: ASYNC110 - a counter
            await asyncio.sleep(0.01)
        store.let_go.set()
    assert store.most == 3


async def test_who_waits_in_vain_is_told_to_repeat_and_the_repeat_succeeds(
    device: Device, ports: Ports
) -> None:
    store = HeldStore(ports.store)
    completion = Completion(
        replace(ports, store=cast("ObjectStore", store)), examining=Admission(1, 1, patience=0.05)
    )
    first, second = await staged(device), await staged(device)
    async with completing(completion, device, [first]):
        await store.reached.wait()
        with pytest.raises(UploadVerificationPending) as refused:
            await completion.complete(actor_of(device.tenant), second, CompleteUpload())
        assert dict(refused.value.headers)["Retry-After"] == "2"
        store.let_go.set()
    done = await completion.complete(actor_of(device.tenant), second, CompleteUpload())
    assert done.status == "uploaded"


async def test_one_world_leaves_places_to_others(
    device: Device, ports: Ports, client: httpx.AsyncClient, stranger: Tenant
) -> None:
    other = Device(client, stranger, stranger.headers)
    store, places = HeldStore(ports.store), Admission(2, 1, patience=LONG)
    held = Completion(replace(ports, store=cast("ObjectStore", store)), examining=places)
    free = Completion(ports, examining=places)
    many, one = [await staged(device) for _ in range(4)], await staged(other)
    async with completing(held, device, many):
        await store.reached.wait()
        assert (await free.complete(actor_of(stranger), one, CompleteUpload())).status == "uploaded"
        store.let_go.set()


async def test_a_repeat_that_waited_does_not_examine_again(device: Device, ports: Ports) -> None:
    """The client lost its patience before we did."""
    store = CountingStore(ports.store)
    completion = Completion(
        replace(ports, store=cast("ObjectStore", store)), examining=Admission(1, 1, patience=LONG)
    )
    at = await staged(device)
    copies: list[int] = []
    async with completing(completion, device, [at, at]):
        await store.reached.wait()
        await asyncio.sleep(0.1)
        copies.append(len(await objects(ports, f"media/{device.tenant.project_id}/{at.recording_id}/")))
        store.reached.clear()
        store.let_go.set()
    assert copies == [1]
    assert not store.reached.is_set()


async def test_what_takes_longer_than_a_call_may_goes_on_in_a_job(device: Device, ports: Ports) -> None:
    store = HeldStore(ports.store)
    slow = Completion(replace(ports, store=cast("ObjectStore", store)), examined_within=0.05)
    at = await staged(device)
    async with ports.database.acquire() as connection:
        await connection.execute("INSERT INTO workers (process_id, seen_at) VALUES ('idle', now())")
    try:
        with pytest.raises(UploadVerificationPending):
            await slow.complete(actor_of(device.tenant), at, CompleteUpload())
        await device.complete(at.recording_id, 425)
        async with ports.database.acquire() as connection:
            waiting = await connection.fetchval(
                "SELECT count(*) FROM jobs.pgqueuer WHERE entrypoint = 'recordings.verify-upload'"
                " AND convert_from(payload, 'UTF8')::json ->> 'recording_id' = $1",
                at.recording_id,
            )
        assert waiting == 1
    finally:
        async with ports.database.acquire() as connection:
            await connection.execute("DELETE FROM workers WHERE process_id = 'idle'")


async def test_nobody_holds_a_connection_while_bytes_are_read(device: Device, ports: Ports) -> None:
    """More completions read than the pool has connections, and the pool still has one to lend."""
    database = Database(ports.database.dsn, min_size=1, max_size=2)
    await database.open()
    store = CountingStore(ports.store)
    completion = Completion(
        replace(ports, store=cast("ObjectStore", store), database=database),
        examining=Admission(8, 8, patience=LONG),
    )
    at = [await staged(device) for _ in range(6)]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        await stack.enter_async_context(completing(completion, device, at))
        while store.inside < len(at):  # noqa: ASYNC110 - the store's own counter
            await asyncio.sleep(0.01)
        async with database.acquire() as one, database.acquire() as another:
            assert await one.fetchval("SELECT 1") == await another.fetchval("SELECT 1")
        store.let_go.set()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process forget its peak")
async def test_what_is_hashed_is_held_in_small_pieces(ports: Ports) -> None:
    """Twenty objects of 16 MiB at once, in half of their size: the store works in this process, too."""
    content = os.urandom(16 << 20)
    await ports.store.put("hashing/large", content)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # noqa: ASYNC240 - no disk
        before = _kilobytes("VmRSS")
        hashes = await asyncio.gather(*(ports.store.sha256_of("hashing/large") for _ in range(20)))
        assert set(hashes) == {(len(content), hashlib.sha256(content).hexdigest())}
        assert _kilobytes("VmHWM") - before < 160 << 10
    finally:
        await ports.store.delete("hashing/large")


def _kilobytes(name: str) -> int:
    """A line of the process's own status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
