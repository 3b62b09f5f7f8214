"""The extractive answer: milliseconds from the question to the stored answer, over HTTP, with warm processes.

Run `python -m benchmarks.ask`. An API process and the query process of embeddings, as `lapel serve` starts
them; 40 recordings of an end user, 60 sentences each.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from benchmarks.report import Row, show
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database import migrations
from tests.search.support import Library, segments_of
from tests.support.embedder import Embedder, embedder
from tests.support.postgres import create_database, start_postgres
from tests.support.running import Running, running
from tests.support.tenants import make_tenant

RECORDINGS = 40
SENTENCES = 60
QUESTIONS = 40
GOAL_MS = 150.0
_TOPICS = (
    "the budget of the campaign",
    "the roof of the school",
    "a trip to Hamburg",
    "the release of the app",
)
_numbers = itertools.count(1)


def _sentence(recording: int, place: int) -> str:
    topic = _TOPICS[(recording + place) % len(_TOPICS)]
    return f"We talked about {topic} in week {place} and gave {recording * 100 + place} euros for it."


async def _fill(library: Library) -> tuple[str, str]:
    """The ids of an end user and of one of its recordings."""
    end_user_id, recording_id = await library.end_user(), ""
    for recording in range(RECORDINGS):
        texts = [_sentence(recording, place) for place in range(SENTENCES)]
        recording_id = await library.said(end_user_id, segments_of(texts))
    return end_user_id, recording_id


async def _times(client: httpx.AsyncClient, body: Mapping[str, object]) -> list[float]:
    """Milliseconds of answers in a session, in order of length."""
    found: list[float] = []
    for number in range(QUESTIONS):
        session = (await client.post("/v1/ask/sessions", json=body)).json()["id"]
        question = {"content": f"How much was given for the roof of the school in week {next(_numbers)}?"}
        begun = time.perf_counter()
        answer = await client.post(f"/v1/ask/sessions/{session}/messages", json=question)
        if number:  # the first one imports and connects
            found.append(1000 * (time.perf_counter() - begun))
        if answer.status_code != httpx.codes.OK or answer.json()["message"]["model"] != "extractive":
            raise RuntimeError(answer.text)
    return sorted(found)


def _row(name: str, found: list[float]) -> Row:
    p95 = found[int(0.95 * len(found))]
    detail = f"p50 {found[len(found) // 2]:.0f} ms, longest {found[-1]:.0f} ms, {len(found)} questions"
    return Row(f"extractive answer, {name}: p95", p95, "ms", at_most=GOAL_MS, detail=detail)


async def _measure(postgres: EmbeddedPostgres, process: Embedder, folder: Path) -> list[Row]:
    url = create_database(postgres, "ask", "template")
    async with running(folder, url, LAPEL_EMBEDDER_SOCKET=str(process.socket)) as live:
        return await _rows(live)


async def _rows(live: Running) -> list[Row]:
    tenant = await make_tenant(live.ports)
    end_user_id, recording_id = await _fill(Library(live.ports, tenant))
    async with httpx.AsyncClient(
        base_url=live.url, headers=tenant.headers, timeout=60, trust_env=False
    ) as client:
        library = {"scope": {"type": "library"}, "end_user_id": end_user_id}
        one = {"scope": {"type": "recording", "recording_id": recording_id}}
        return [
            _row(f"{RECORDINGS} recordings", await _times(client, library)),
            _row("one recording", await _times(client, one)),
        ]


def measure() -> list[Row]:
    """Milliseconds of extractive answers."""
    with tempfile.TemporaryDirectory() as folder, embedder() as process:
        postgres = start_postgres(Path(folder) / "postgres")
        try:
            migrations.upgrade(create_database(postgres, "template"))
            return asyncio.run(_measure(postgres, process, Path(folder) / "data"))
        finally:
            postgres.stop()


if __name__ == "__main__":
    show(measure())
