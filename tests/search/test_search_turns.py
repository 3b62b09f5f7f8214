"""The searches of one project leave room for those of others."""

from __future__ import annotations

import asyncio

import pytest

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.ports import Ports
from lapel.settings import Settings
from lapel.slices.embeddings.service import Embeddings
from lapel.slices.search import service
from lapel.slices.search.service import Search
from tests.search.support import Library, segments_of
from tests.support.patience import LONG, patience
from tests.support.tenants import Tenant

SAID = segments_of(["The budget for Kowalski is 40,000 euros."])


class Busy(Embeddings):
    """An embedder that gives no vector before `free` is set."""

    def __init__(self) -> None:
        super().__init__(Settings())
        self.free = asyncio.Event()
        self.asked: list[str] = []
        self.others_asked = asyncio.Event()

    async def query(self, text: str, *, waits: bool = False) -> bytes | None:
        """Wait."""
        self.asked.append(text)
        if text == "Kowalski":
            self.others_asked.set()
        await self.free.wait()
        return await super().query(text, waits=waits)


async def test_a_search_does_not_wait_for_many_of_another_project(
    ports: Ports, tenant: Tenant, stranger: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, quiet = Library(ports, tenant), Library(ports, stranger)
    people = [await busy.end_user(), await quiet.end_user()]
    await busy.said(people[0], SAID)
    said = await quiet.said(people[1], SAID)
    monkeypatch.setattr(service, "_PATIENCE", 3.0)
    embeddings = Busy()
    search = Search(ports, embeddings)
    many = [
        asyncio.create_task(search.search(busy.world_id, people[0], f"budget {number}"))
        for number in range(20)
    ]
    await asyncio.sleep(0)  # they ask for their turns first
    other = asyncio.create_task(search.search(quiet.world_id, people[1], "Kowalski"))
    async with patience(LONG):
        await embeddings.others_asked.wait()
    assert len(embeddings.asked) < len(many)
    refused, _ = await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)
    assert all(
        isinstance(error := each.exception(), Unavailable) and "Search again" in str(error)
        for each in refused
    )
    embeddings.free.set()
    assert [each.recording_id for each in await other] == [said]
    ends = await asyncio.gather(*many, return_exceptions=True)
    assert {type(each) for each in ends} == {list, Unavailable}
    await embeddings.aclose()
