"""The cost of a million recordings relative to a thousand: `download-url` and `GET /v1/recordings`.

Run `python -m benchmarks.growth`. Two API processes on two databases of one PostgreSQL, in turn.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import load
from benchmarks.download_url import requests_for
from benchmarks.load import Load
from benchmarks.report import Row, show
from benchmarks.rig import Api, rig

FEW = 1_000
MANY = 1_000_000
ROUNDS = 5
SECONDS = 3.0
GOAL = 1.3


def measure() -> list[Row]:
    """p50 with many recordings over p50 with few, for each call, at 64 connections and alone."""
    with rig() as made:
        few, many = (made.lapel(made.database(f"n{count}", count)) for count in (FEW, MANY))
        rows: list[Row] = []
        for call, write in (("download-url", requests_for), ("GET /recordings", _lists)):
            files = [write(api, api.filled.key, made.folder / f"requests-{api.port}") for api in (few, many)]
            sides = list(zip((few, many), files, strict=True))
            rows += [_compare(call, sides, connections) for connections in (load.CONNECTIONS, 1)]
        return rows


def _compare(call: str, sides: list[tuple[Api, Path]], connections: int) -> Row:
    loads: tuple[list[Load], list[Load]] = ([], [])
    for api, requests in sides:  # also loads the pages into memory
        load.run(requests, api.port, seconds=SECONDS, connections=connections)
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


def _lists(api: Api, token: str, path: Path) -> Path:
    return load.write_requests(path, f"127.0.0.1:{api.port}", [("GET", "/v1/recordings", token, b"")])


if __name__ == "__main__":
    show(measure())
