"""The cost of ten million recordings relative to a thousand: `download-url`, lists, filters, deep pages.

Run `python -m benchmarks.growth`. Two API processes on two databases of one PostgreSQL, in turn.
"""

from __future__ import annotations

import hashlib
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import load
from benchmarks.download_url import requests_for
from benchmarks.fill import BEGINNING, SECONDS_APART
from benchmarks.load import Load
from benchmarks.report import Row, show
from benchmarks.rig import Api, rig
from lapel.foundation.http.input.pagination import write_cursor

if TYPE_CHECKING:
    from collections.abc import Callable

FEW = 1_000
MANY = 10_000_000
ROUNDS = 5
SECONDS = 2.0
WARMING = 6.0
GOAL = 1.2
_DIFFERENT = 1_000  # requests


def measure() -> list[Row]:
    """p50 with many recordings over p50 with few, for each call, at 64 connections and alone."""
    with rig() as made:
        few, many = ((made.lapel(made.database(f"n{count}", count)), count) for count in (FEW, MANY))
        rows: list[Row] = []
        for call, write in _CALLS.items():
            sides: list[tuple[Api, Path]] = []
            for api, count in (few, many):
                path = made.folder / f"requests-{api.port}"
                sides.append((api, write(api, count, path)))
            rows += [_compare(call, sides, connections) for connections in (load.CONNECTIONS, 1)]
        return rows


def _compare(call: str, sides: list[tuple[Api, Path]], connections: int) -> Row:
    loads: tuple[list[Load], list[Load]] = ([], [])
    for api, requests in sides:  # loads the pages into memory, each several times
        load.run(requests, api.port, seconds=WARMING, connections=connections)
    for _ in range(ROUNDS):
        for seen, (api, requests) in zip(loads, sides, strict=True):
            seen.append(load.run(requests, api.port, seconds=SECONDS, connections=connections))
    few, many = map(load.median, loads)
    return Row(
        f"{call}: p50 with {MANY:,} recordings, of {FEW:,}",
        many.p50 / few.p50,
        at_most=GOAL,
        detail=f"{connections} connections: p50 {few.p50 * 1e3:.2f} -> {many.p50 * 1e3:.2f} ms, "
        f"p99 {few.p99 * 1e3:.2f} -> {many.p99 * 1e3:.2f} ms, {few.rate:.0f} -> {many.rate:.0f} req/s",
    )


def _links(api: Api, _count: int, path: Path) -> Path:
    return requests_for(api, api.filled.key, path)


def _lists(query: Callable[[int], str]) -> Callable[[Api, int, Path], Path]:
    """Requests of pages. `query`: what follows the path, from the number of recordings."""

    def write(api: Api, count: int, path: Path) -> Path:
        targets = [f"/v1/recordings{query(count)}" for _ in range(_DIFFERENT)]
        requests = [("GET", each, api.filled.key, b"") for each in targets]
        return load.write_requests(path, f"127.0.0.1:{api.port}", requests)

    return write


def _moment(number: int) -> datetime:
    return BEGINNING + timedelta(seconds=number * SECONDS_APART)


def _place(count: int) -> int:
    """The number of a recording that has a page of 20 before it."""
    return random.randrange(21, count)


def _deep_page(count: int) -> str:
    number = _place(count)
    recording_id = f"rec_{number:08d}{hashlib.md5(f'r{number}'.encode()).hexdigest()[:16]}"
    return f"?cursor={write_cursor('recordings', _moment(number), recording_id)}"


def _five_minutes(count: int) -> str:
    """300 recordings."""
    after = _moment(random.randrange(count - 300))
    first, last = (f"{each:%Y-%m-%dT%H:%M:%SZ}" for each in (after, after + timedelta(minutes=5)))
    return f"?recorded_after={first}&recorded_before={last}"


def _all_before(count: int) -> str:
    return f"?recorded_before={_moment(_place(count)):%Y-%m-%dT%H:%M:%SZ}"


def _end_user(count: int) -> str:
    return f"?end_user_id=eu_{random.randrange(count // 20):024d}"


# Writes a call's requests, from the number of recordings.
_CALLS: dict[str, Callable[[Api, int, Path], Path]] = {
    "download-url": _links,
    "GET /recordings": _lists(lambda _: ""),
    "GET /recordings, deep pages": _lists(_deep_page),
    "GET /recordings?status": _lists(lambda _: "?status=uploaded"),
    "GET /recordings?end_user_id": _lists(_end_user),
    "GET /recordings?recorded_after&recorded_before": _lists(_five_minutes),
    "GET /recordings?recorded_before": _lists(_all_before),
}


if __name__ == "__main__":
    show(measure())
