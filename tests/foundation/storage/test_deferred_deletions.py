"""Objects that are deleted after the answer: in few requests, and in bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from lapel.foundation.storage import deferred_deletions
from lapel.foundation.storage.client import ObjectStore
from lapel.foundation.storage.deferred_deletions import DeferredDeletions
from lapel.foundation.storage.errors import StoreUnavailable


class Store:
    """What it was asked to delete. `away`: it fails. `hangs`: it does not answer."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.away = self.hangs = False
        self.called = asyncio.Event()

    async def delete_many(self, keys: Sequence[str]) -> None:
        self.asked.append(list(keys))
        self.called.set()
        await (asyncio.Event().wait() if self.hangs else asyncio.sleep(0))
        if self.away:
            raise StoreUnavailable("away")


def deferred(store: Store) -> DeferredDeletions:
    return DeferredDeletions(cast("ObjectStore", store), "complete:staging-deleted")


async def test_what_waits_is_deleted_in_one_request_and_at_the_end_at_the_latest() -> None:
    store = Store()
    deletions = deferred(store)
    for name in ("a", "b", "c"):
        await deletions.add([name])
    assert store.asked == []
    await deletions.aclose()
    assert store.asked == [["a", "b", "c"]]
    await deletions.aclose()
    assert len(store.asked) == 1


async def test_a_caller_who_finds_too_many_waiting_deletes_at_once() -> None:
    store = Store()
    deletions = deferred(store)
    many = [str(number) for number in range(1000)]
    await deletions.add(many)
    await deletions.add(["own"])
    assert store.asked == [["own"]]
    await deletions.aclose()
    assert store.asked == [["own"], many]


async def test_a_store_that_hangs_is_left_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred_deletions, "_LAST", 0.05)
    monkeypatch.setattr(deferred_deletions, "_DELAY", 0.01)
    store = Store()
    store.hangs = True
    deletions = deferred(store)
    await deletions.add(["a"])
    await store.called.wait()
    await deletions.aclose()
    assert store.asked == [["a"]]
    assert deletions._deleting is None


async def test_a_store_that_is_away_ends_nothing() -> None:
    store = Store()
    deletions = deferred(store)
    store.away = True
    await deletions.add(["lost"])
    await deletions.aclose()
    store.away = False
    await deletions.add(["next"])
    await deletions.aclose()
    assert store.asked == [["lost"], ["next"]]
