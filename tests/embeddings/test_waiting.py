"""Who waits for vectors gets them when the query process has time, and is told when it has none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from lapel.foundation.database.turns.world_shares import WORLD
from lapel.foundation.workers.local_sockets import listening_socket
from lapel.settings import Settings
from lapel.slices.embeddings import service
from lapel.slices.embeddings.embedder import embedder_client
from lapel.slices.embeddings.embedder.embedder_client import EmbedderClient
from lapel.slices.embeddings.embedder.embedder_messages import PATIENCE
from lapel.slices.embeddings.model.model_messages import Kind
from lapel.slices.embeddings.service import MOST_OF_WORLD, Embeddings, EmbeddingsAway
from tests.embeddings.needs import needs_model
from tests.support.patience import patience

pytestmark = needs_model
VECTOR = b"\0" * 4


class Busy:
    """A query process that refuses so many requests, and how many requests it had at once."""

    def __init__(self, refuses: int) -> None:
        self.refuses = refuses
        self.now = self.most = 0

    async def vectors(self, texts: list[str], kind: Kind) -> list[bytes] | None:
        """As EmbedderClient.vectors."""
        del kind
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        self.refuses -= 1
        return None if self.refuses >= 0 else [VECTOR] * len(texts)


@pytest.fixture
async def embeddings(tmp_path: Path) -> AsyncGenerator[Embeddings]:
    """An API process's; nobody listens at the socket."""
    made = Embeddings(Settings.from_env({"LAPEL_EMBEDDER_SOCKET": str(tmp_path / "nobody")}))
    yield made
    await made.aclose()


def busy(monkeypatch: pytest.MonkeyPatch, refuses: int) -> Busy:
    """Let the query process refuse so many requests."""
    process = Busy(refuses)
    monkeypatch.setattr(EmbedderClient, "vectors", process.vectors)
    return process


async def test_it_waits_while_the_process_has_too_much_to_do(
    embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(monkeypatch, refuses=3)
    assert await embeddings.sentences(["text"]) is None
    assert await embeddings.sentences(["text"], waits=True) == [VECTOR]
    assert await embeddings.query("text", waits=True) == VECTOR


async def test_it_is_told_when_there_are_no_vectors_in_time(
    embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(monkeypatch, refuses=1_000_000)
    monkeypatch.setattr(service, "WAIT_SECONDS", 0.05)
    for asking in (embeddings.sentences(["text"], waits=True), embeddings.query("text", waits=True)):
        with pytest.raises(EmbeddingsAway):
            await asking


async def test_a_machine_without_the_process_has_no_vectors(
    embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "ABSENT_SECONDS", 0.05)
    assert await embeddings.sentences(["text"], waits=True) is None


async def test_of_one_world_a_few_wait_at_the_process_and_others_pass(
    embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = busy(monkeypatch, refuses=0)

    async def ask(world_id: int) -> None:
        WORLD.set(world_id)
        assert await embeddings.sentences(["text"], waits=True)

    await asyncio.gather(*(asyncio.create_task(ask(1)) for _ in range(10)))
    assert process.most == MOST_OF_WORLD
    await asyncio.gather(*(asyncio.create_task(ask(each % 3)) for each in range(12)))
    assert process.most == 3 * MOST_OF_WORLD


async def test_for_a_process_that_never_answers_only_the_first_waits_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor listens at the socket, and its process dies at each start."""
    now = asyncio.get_running_loop().time
    monkeypatch.setattr(embedder_client, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(embedder_client, "STARTING_SECONDS", 1.0)
    monkeypatch.setitem(PATIENCE, "query", 0.1)
    monkeypatch.setattr(service, "ABSENT_SECONDS", 1.0)
    with listening_socket(tmp_path / "socket"):
        embeddings = Embeddings(Settings.from_env({"LAPEL_EMBEDDER_SOCKET": str(tmp_path / "socket")}))
        began = now()
        assert await embeddings.query("text") is None
        assert now() - began >= 1.0
        monkeypatch.setattr(embedder_client, "STARTING_SECONDS", 3600.0)
        async with patience(60):
            for _ in range(2):
                assert await embeddings.query("text") is None
        # And who needs vectors does without them, and does not wait for ever.
        assert await embeddings.query("text", waits=True) is None
        await embeddings.aclose()
