"""Objects that are deleted after the answer: in few requests, and in bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from lapel.foundation.storage.client import ObjectStore
from lapel.foundation.storage.deferred_deletions import DeferredDeletions
from lapel.foundation.storage.errors import StoreUnavailable


class Store:
    """What it was asked to delete. `away`: it fails."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.away = False

    async def delete_many(self, keys: Sequence[str]) -> None:
        self.asked.append(list(keys))
        await asyncio.sleep(0)
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
