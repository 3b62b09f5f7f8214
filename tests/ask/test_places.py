"""How many extractive answers one project has under way at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx
import pytest

from lapel.slices.ask.composing import composer
from lapel.slices.ask.composing.extracts import extracted
from lapel.slices.ask.composing.passages import Passage
from lapel.slices.ask.wire import Part
from lapel.slices.embeddings.service import Embeddings
from tests.ask.conftest import ROOF, Asker
from tests.recordings.support import Device
from tests.search.support import Library
from tests.support.patience import LONG, patience
from tests.support.tenants import make_tenant

QUESTIONS = 8
QUESTION = "When will the roof of the school be repaired?"


class Held:
    """Answers that do not end before the test lets them."""

    def __init__(self) -> None:
        self.begun = self.now = self.most = 0
        self.let_go = asyncio.Event()

    async def extract(self, question: str, passages: Sequence[Passage], embeddings: Embeddings) -> list[Part]:
        """As `extracted`; it holds all questions that are longer than QUESTION."""
        if question != QUESTION:
            self.begun, self.now = self.begun + 1, self.now + 1
            self.most = max(self.most, self.now)
            await self.let_go.wait()
            self.now -= 1
        return await extracted(question, passages, embeddings)


async def test_a_project_that_asks_much_has_half_of_the_places_and_another_is_answered(
    asker: Asker, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    monkeypatch.setattr(composer, "extracted", held.extract)
    tenant = await make_tenant(asker.ports)
    device = Device(http, tenant, tenant.headers)
    quiet = Asker(device, asker.ports, asker.models, asker.answers, Library(asker.ports, tenant))
    own = await quiet.about_roof()
    sessions = [await asker.about_roof() for _ in range(QUESTIONS)]
    asking = [
        asyncio.create_task(asker.ask(each["id"], f"{QUESTION} {number}"))
        for number, each in enumerate(sessions)
    ]
    async with patience(LONG):
        while held.now < 4:  # noqa: ASYNC110 - the composer tells nobody
            await asyncio.sleep(0.01)
    answer = await quiet.ask(own["id"], QUESTION)
    assert answer["message"]["content"] == ROOF[1]
    held.let_go.set()
    await asyncio.gather(*asking)
    assert (held.begun, held.most) == (QUESTIONS, 4)
