"""A project that floods the query process with long queries does not take the answers of another project."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import httpx
import pytest

from tests.embeddings.needs import needs_model
from tests.search.support import Library, segments_of
from tests.support.client import api_client
from tests.support.embedder import Embedder, embedder
from tests.support.running import Running, running
from tests.support.tenants import Tenant, make_tenant

pytestmark = needs_model

# In each world. The query process always has more to do than it can.
SEARCHERS = 8
ROOF = (
    "The roof of the school will be repaired in May.",
    "Anna signs the contract for it on Friday.",
    "The spring fair is moved to Saturday.",
)
QUESTION = "When will the roof of the school be repaired?"


@pytest.fixture(scope="module")
def process() -> Generator[Embedder]:
    with embedder() as made:
        yield made


@pytest.fixture
async def live(fresh_database: str, tmp_path: Path, process: Embedder) -> AsyncGenerator[Running]:
    async with running(tmp_path, fresh_database, LAPEL_EMBEDDER_SOCKET=str(process.socket)) as made:
        yield made


async def end_user_of(live: Running, tenant: Tenant) -> str:
    """An end user whose one recording is about the roof."""
    library = Library(live.ports, tenant)
    end_user_id = await library.end_user()
    await library.said(end_user_id, segments_of(ROOF))
    return end_user_id


@asynccontextmanager
async def flood(live: Running, headers: dict[str, str], end_user_id: str) -> AsyncGenerator[None]:
    """During the block, so many callers always search for long texts, each for another one."""
    random, begun = Random(1), asyncio.Semaphore(0)

    async def ask(client: httpx.AsyncClient) -> None:
        while True:
            words = ("".join(random.choices("abcdefghij", k=random.randint(2, 9))) for _ in range(200))
            body = {"query": " ".join(words)[:990], "end_user_id": end_user_id}
            begun.release()
            await client.post("/v1/recordings/search", json=body, headers=headers)

    async with api_client(live.url) as client:
        asking = [asyncio.create_task(ask(client)) for _ in range(SEARCHERS)]
        try:
            for _ in range(2 * SEARCHERS):
                await begun.acquire()
            yield
            assert not any(each.done() for each in asking), "the flood has ended"
        finally:
            for each in asking:
                each.cancel()
            await asyncio.wait(asking)


async def answer_to_neighbour(live: Running) -> str:
    """The answer of another project, which has asked nothing before."""
    tenant = await make_tenant(live.ports)
    end_user_id = await end_user_of(live, tenant)
    async with api_client(live.url) as client:
        answer = await client.post(
            "/v1/ask/sessions",
            headers=tenant.headers,
            json={
                "scope": {"type": "library"},
                "end_user_id": end_user_id,
                "initial_message": {"content": QUESTION},
            },
        )
    assert answer.status_code == httpx.codes.CREATED, answer.text
    return answer.text


@pytest.mark.deep
async def test_a_neighbour_is_answered_beside_searches_of_long_texts_in_both_worlds(live: Running) -> None:
    busy = await make_tenant(live.ports)
    end_user_id = await end_user_of(live, busy)
    async with (
        flood(live, busy.headers, end_user_id),
        flood(live, busy.live_headers, end_user_id),
    ):
        assert ROOF[0] in await answer_to_neighbour(live)
