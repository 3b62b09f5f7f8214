"""Many at once: 300 completions, then 30 readers of a transcript of 60 MB and of its exports; and `/health`.

Run `python -m benchmarks.at_once`. One API process and the embedded store. A client repeats a call that is
answered 425 or 503 after the answer's Retry-After, as the contract demands, for at most four minutes.
Readers of exports leave after a minute; the time for the rest is estimated from what they got.
`LAPEL_BENCH_COMPLETIONS`, `LAPEL_BENCH_AUDIO_BYTES`, `LAPEL_BENCH_EXPORTS` (formats, with commas between) and
`LAPEL_BENCH_EXPORT_SECONDS` make it smaller or larger.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp
import asyncpg
import psutil

from benchmarks.report import Row, show
from benchmarks.rig import Api, rig

COMPLETIONS = int(os.environ.get("LAPEL_BENCH_COMPLETIONS", "300"))
AUDIO_BYTES = int(os.environ.get("LAPEL_BENCH_AUDIO_BYTES", str(8 * 10**6)))
READERS = 30
# The longest transcript that is allowed. An answer contains the text three times.
SEGMENTS = 5_000
SEGMENT_CHARACTERS = 4_000
GOAL_MEMORY = 400  # MiB
# Seconds after which a client gives up. A completion is answered within 25 s, every other call within 10 s.
PATIENCE = 240.0
# Formats: one is slow to make, and one once took much memory.
EXPORTS = os.environ.get("LAPEL_BENCH_EXPORTS", "srt,docx").split(",")
EXPORT_SECONDS = float(os.environ.get("LAPEL_BENCH_EXPORT_SECONDS", "60"))
_REST = 5.0
_MIB = 2**20

_TRANSCRIPT = """
INSERT INTO transcriptions (world_id, id, recording_id, media_id, origin, status, progress, provider,
    diarization, model, duration_ms, full_text, segments, word_count, confidence, completed_at, created_at,
    updated_at)
SELECT $1, $2, $3, $4, 'request', 'completed', 1, 'whisper', false, 'made up', $5::integer * 1000,
    repeat(t.text || ' ', $5), convert_to((SELECT '[' || string_agg(
        format('{"start":%s,"end":%s.5,"text":"%s","confidence":0.9}', i, i, t.text), ',') || ']'
        FROM generate_series(0, $5 - 1) i), 'UTF8'), 1, 0.9, now(), now(), now()
FROM (SELECT left(repeat('word ', $6), $6 - 1) || '.' AS text) t
"""


@dataclass(slots=True)
class _Seen:
    """Observations of the clients and of the /health watch."""

    first: Counter[int] = field(default_factory=Counter[int])
    answers: Counter[int] = field(default_factory=Counter[int])
    ended: Counter[int] = field(default_factory=Counter[int])
    health: Counter[int] = field(default_factory=Counter[int])
    slowest: float = 0.0
    last: float = 0.0
    received: int = 0
    seconds: float = 0.0
    peak: float = 0.0
    after: float = 0.0


@dataclass(slots=True)
class _Asked:
    """One client's answers.

    Statuses; the longest time in seconds from a request to the answer's head, and to the last byte that was
    read; the bytes of the last answer.
    """

    answers: list[int] = field(default_factory=list[int])
    slowest: float = 0.0
    last: float = 0.0
    received: int = 0


def measure() -> list[Row]:
    """Figures of the answers, and the memory of the API process during and after them."""
    with rig() as made:
        api = made.lapel(made.database("at_once", 1_000))
        return asyncio.run(_measure(api))


async def _measure(api: Api) -> list[Row]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{api.port}", connector=connector) as session:
        client = _Client(session, {"Authorization": f"Bearer {api.filled.key}"})
        before = api.memory[0]
        recordings = await client.uploads(COMPLETIONS)
        uploaded = api.memory[0]
        completed = await _watched(api, [lambda at=at: client.complete(at) for at in recordings])
        path = await _transcript(api)
        read = await _watched(api, [lambda: client.read(path) for _ in range(READERS)])
        exported = [row for name in EXPORTS for row in await _exported(api, client, path, name)]
    what = f"{COMPLETIONS} completions of {AUDIO_BYTES / 1e6:.0f} MB at once"
    many = f"{READERS} readers of a transcript of {SEGMENTS * SEGMENT_CHARACTERS * 3 / 1e6:.0f} MB"
    return [
        *_rows(what, COMPLETIONS, completed, f"{before:.0f} MiB at first, {uploaded:.0f} after the uploads"),
        *_rows(many, READERS, read, f"{completed.after:.0f} MiB at first"),
        *exported,
    ]


async def _exported(api: Api, client: _Client, path: str, name: str) -> list[Row]:
    """One reader of an export, then many readers who leave early."""
    path = f"{path}/export?format={name}"
    alone = await client.read(path)
    seen = await _watched(api, [partial(client.read, path, EXPORT_SECONDS)] * READERS)
    whole, what = READERS * alone.received, f"{READERS} readers of its export as {name}"
    return [
        Row(
            f"one reader of its export as {name}, alone: last byte",
            alone.last,
            "s",
            detail=f"{alone.received / 1e6:.1f} MB; {READERS} in a row: {READERS * alone.last:.0f} s",
        ),
        *_rows(what, READERS, seen, ""),
        Row(
            f"{what}: until all have all of it",
            seen.seconds * whole / max(seen.received, 1),
            "s",
            detail=f"they had {seen.received / 1e6:.1f} of {whole / 1e6:.1f} MB after {seen.seconds:.0f} s",
        ),
    ]


def _rows(what: str, count: int, seen: _Seen, memory: str) -> list[Row]:
    asked = seen.health.total()
    return [
        Row(
            f"{what}: answered 200 in the end",
            seen.ended[200],
            f"of {count}",
            at_least=count,
            detail=f"first answers {_listed(seen.first)}; all {_listed(seen.answers)}; {seen.seconds:.1f} s",
        ),
        Row(f"{what}: slowest first byte", seen.slowest, "s", at_most=25 if "completions" in what else 10),
        Row(f"{what}: slowest last byte", seen.last, "s"),
        Row(
            f"{what}: /health 200 meanwhile",
            seen.health[200],
            f"of {asked}",
            at_least=asked,
            detail=_listed(seen.health),
        ),
        Row(f"{what}: most RSS of the API process", seen.peak, "MiB", at_most=GOAL_MEMORY, detail=memory),
        Row(f"{what}: RSS {_REST:.0f} s later", seen.after, "MiB", at_most=GOAL_MEMORY),
    ]


def _listed(counted: Counter[int]) -> str:
    return ", ".join(f"{count} x {status or 'none'}" for status, count in sorted(counted.items()))


async def _watched(api: Api, calls: list[Callable[[], Awaitable[_Asked]]]) -> _Seen:
    """Runs all calls at once, and watches /health meanwhile."""
    seen = _Seen()
    with _health(api, seen):
        async with _memory(api.process, seen):
            began = time.perf_counter()
            results = await asyncio.gather(*(call() for call in calls))
            seen.seconds = time.perf_counter() - began
    for each in results:
        seen.first[each.answers[0]] += 1
        seen.answers.update(each.answers)
        seen.ended[each.answers[-1]] += 1
        seen.slowest = max(seen.slowest, each.slowest)
        seen.last = max(seen.last, each.last)
        seen.received += each.received
    await asyncio.sleep(_REST)
    seen.after = api.memory[0]
    return seen


@asynccontextmanager
async def _memory(process: psutil.Process, seen: _Seen) -> AsyncGenerator[None]:
    async def look() -> None:
        while True:
            seen.peak = max(seen.peak, process.memory_info().rss / _MIB)
            await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()


@contextmanager
def _health(api: Api, seen: _Seen) -> Generator[None]:
    """Asks /health every 50 ms, on its own connection."""

    async def ask() -> None:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{api.port}") as session:
            while True:
                try:
                    async with session.get("/health", timeout=aiohttp.ClientTimeout(10)) as answer:
                        seen.health[answer.status] += 1
                except (aiohttp.ClientError, TimeoutError):
                    seen.health[0] += 1
                await asyncio.sleep(0.05)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()


class _Client:
    def __init__(self, session: aiohttp.ClientSession, headers: dict[str, str]) -> None:
        self._session = session
        self._headers = headers

    async def uploads(self, count: int) -> list[str]:
        """Ids of `count` new recordings whose audio was PUT but not completed; made a few at a time."""
        gate = asyncio.Semaphore(4)
        body = os.urandom(AUDIO_BYTES)

        async def upload() -> str:
            async with gate:
                made = await self._post("/v1/recordings", {"end_user_id": "eu_" + "0" * 24})
                at = f"/v1/recordings/{made['id']}"
                link = await self._post(f"{at}/upload-url", {"content_type": "audio/ogg"})
                async with self._session.put(link["upload_url"], data=body, headers=link["headers"]) as put:
                    put.raise_for_status()
                return made["id"]

        return await asyncio.gather(*(upload() for _ in range(count)))

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self._session.post(path, json=body, headers=self._headers) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def complete(self, recording: str) -> _Asked:
        """Completes an upload; repeats the call until the final answer."""
        return await self._patient("POST", f"/v1/recordings/{recording}/upload-complete")

    async def read(self, path: str, seconds: float = PATIENCE) -> _Asked:
        """Reads an answer as fast as it comes, for at most `seconds`, and discards it."""
        return await self._patient("GET", path, seconds)

    async def _patient(self, method: str, path: str, seconds: float = PATIENCE) -> _Asked:
        asked, deadline = _Asked(), time.perf_counter() + PATIENCE
        while True:
            began, wait = time.perf_counter(), 1.0
            try:
                async with self._session.request(
                    method, path, headers=self._headers, timeout=aiohttp.ClientTimeout(PATIENCE)
                ) as answer:
                    asked.slowest = max(asked.slowest, time.perf_counter() - began)
                    wait = float(answer.headers.get("Retry-After", 1))
                    asked.received = 0
                    asked.answers.append(answer.status)
                    async for part in answer.content.iter_chunked(1 << 16):
                        asked.received += len(part)
                        if time.perf_counter() - began > seconds:
                            break
                    asked.last = max(asked.last, time.perf_counter() - began)
            except (aiohttp.ClientError, TimeoutError):
                asked.answers.append(0)
            if asked.answers[-1] not in (0, 425, 503) or time.perf_counter() > deadline:
                return asked
            await asyncio.sleep(wait)


async def _transcript(api: Api) -> str:
    """Path of a transcript of the greatest length allowed."""
    recording, media = api.filled.media[0]
    connection = await asyncpg.connect(str(api.settings.database_url))
    try:
        name = "txn_" + "0" * 24
        given = (api.filled.world_id, name, recording, media, SEGMENTS, SEGMENT_CHARACTERS)
        await connection.execute(_TRANSCRIPT, *given)
    finally:
        await connection.close()
    return f"/v1/transcriptions/{name}"


if __name__ == "__main__":
    show(measure())
