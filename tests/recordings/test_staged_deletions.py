"""Staged objects are deleted soon after the answer that no longer needs them."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from lapel.foundation.ports import Ports
from lapel.foundation.storage.client import ObjectStore
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.slices.recordings.service import Recordings
from lapel.slices.recordings.uploads import staged_deletions
from lapel.slices.recordings.uploads.staged_deletions import StagedDeletions
from lapel.slices.recordings.wire import CompleteUpload
from tests.recordings.support import Device, actor_of, objects, staging
from tests.recordings.test_mishaps import staged


class NotingStore:
    """Notes what it is told to delete; while `held`, and when it is `away`, it deletes nothing."""

    def __init__(self) -> None:
        self.deleted: list[list[str]] = []
        self.requests = asyncio.Queue[list[str]]()
        self.held = asyncio.Event()
        self.held.set()
        self.away = self.defect = False

    async def delete_many(self, keys: list[str]) -> None:
        self.deleted.append(list(keys))
        self.requests.put_nowait(list(keys))
        if self.defect:
            raise RuntimeError("a defect")
        if self.away:
            raise StoreUnavailable("gone")
        await self.held.wait()


def deletions(store: NotingStore, **limits: Any) -> StagedDeletions:
    return StagedDeletions(cast("ObjectStore", store), **limits)


async def test_what_a_completion_no_longer_needs_is_gone_when_the_process_stops(
    device: Device, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staged_deletions, "_WAIT", 600.0)
    recordings = Recordings(ports)
    at, media_id = await staged(device)
    prefix = staging(device, at.recording_id)
    await recordings.completion.complete(actor_of(device.tenant), at, CompleteUpload())
    assert len(await objects(ports, prefix)) == 1
    await recordings.aclose()
    assert await objects(ports, prefix) == []
    assert await device.download(at.recording_id, media_id)


async def test_what_is_deleted_within_a_moment_goes_in_one_request() -> None:
    store = NotingStore()
    soon = deletions(store)
    for key in "abc":
        await soon.delete([key])
    await soon.delete([])
    assert store.deleted == []
    await soon.aclose()
    assert store.deleted == [["a", "b", "c"]]


async def test_the_next_ones_wait_for_the_request_under_way_and_beyond_the_bound_the_caller_waits() -> None:
    store = NotingStore()
    store.held.clear()
    soon = deletions(store, most=3)
    await soon.delete(["a", "b"])
    assert await store.requests.get() == ["a", "b"]
    await soon.delete(["c"])
    late = asyncio.create_task(soon.delete(["d"]))
    assert await store.requests.get() == ["d"]
    assert not late.done()
    store.held.set()
    await late
    await soon.aclose()
    assert store.deleted == [["a", "b"], ["d"], ["c"]]


async def test_after_a_failure_of_the_store_the_next_ones_are_deleted() -> None:
    store = NotingStore()
    store.away = True
    soon = deletions(store)
    await soon.delete(["a"])
    assert await store.requests.get() == ["a"]
    store.away = False
    await soon.delete(["b"])
    await soon.aclose()
    assert store.deleted == [["a"], ["b"]]


async def test_a_store_that_hangs_keeps_no_process_from_ending() -> None:
    store = NotingStore()
    store.held.clear()
    soon = deletions(store)
    await soon.delete(["a"])
    assert await store.requests.get() == ["a"]
    await soon.aclose()
    store.held.set()
    await soon.delete(["b"])
    assert store.deleted == [["a"], ["b"]]


async def test_after_a_defect_the_next_ones_are_deleted() -> None:
    store = NotingStore()
    store.defect = True
    soon = deletions(store)
    await soon.delete(["a"])
    assert await store.requests.get() == ["a"]
    store.defect = False
    await soon.delete(["b"])
    await soon.aclose()
    assert store.deleted == [["a"], ["b"]]


async def test_after_the_end_the_caller_waits() -> None:
    store = NotingStore()
    soon = deletions(store)
    await soon.aclose()
    await soon.delete(["a"])
    assert store.deleted == [["a"]]
