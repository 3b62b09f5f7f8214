"""`GET /v1/recordings`, a page of 20: Lapel and a bare sketch of the same rows in turn.

Run `python -m benchmarks.list_recordings`. One server process each, 64 connections, 20,000 recordings with
one media each.
"""

from __future__ import annotations

import json

from benchmarks import load
from benchmarks.load import Load
from benchmarks.report import Row, show
from benchmarks.rig import Server, ask, rig

RECORDINGS = 20_000
ROUNDS = 5
SECONDS = 4.0
PATH = "/v1/recordings"


def measure() -> list[Row]:
    """Rates, latencies and CPU time of both, and the ratio of the rates."""
    with rig() as made:
        api = made.lapel(made.database("list", RECORDINGS))
        bare = made.peer("bare_list", api)
        _check_same_answers((api, bare), api.filled.key)
        requests = load.write_requests(
            made.folder / "requests", f"127.0.0.1:{api.port}", [("GET", PATH, api.filled.key, b"")]
        )
        rows: list[Row] = []
        loads: dict[str, list[Load]] = {api.name: [], bare.name: []}
        cpu: dict[str, list[float]] = {api.name: [0.0, 0.0], bare.name: [0.0, 0.0]}
        for server in (api, bare):
            load.run(requests, server.port, seconds=1)
        for _ in range(ROUNDS):
            for server in (api, bare):
                own, database = server.cpu_seconds, made.postgres_cpu_seconds
                loads[server.name].append(load.run(requests, server.port, seconds=SECONDS))
                cpu[server.name][0] += server.cpu_seconds - own
                cpu[server.name][1] += made.postgres_cpu_seconds - database
    found = {name: load.median(each) for name, each in loads.items()}
    for name, seen in found.items():
        own, database = (each / seen.requests * 1e6 for each in cpu[name])
        detail = f"p50 {seen.p50 * 1e3:.1f} ms, p99 {seen.p99 * 1e3:.1f} ms; {own:.0f} us CPU each, "
        rows.append(
            Row(
                f"list recordings, {name}",
                seen.rate,
                "req/s",
                detail=f"{detail}{database:.0f} us in PostgreSQL",
            )
        )
    how = f"{ROUNDS} rounds of {SECONDS:.0f} s in turn, {load.CONNECTIONS} connections, {load.generator()}"
    ratio = found[api.name].rate / found[bare.name].rate
    return [*rows, Row("list recordings: rate, of bare_list", ratio, at_least=0.7, detail=how)]


def _check_same_answers(servers: tuple[Server, ...], token: str) -> None:
    """Raises RuntimeError unless all servers show the same recordings, with the same fields."""
    pages = [json.loads(ask(server.port, "GET", PATH, token)[1]) for server in servers]
    if len(pages[0]["data"]) != 20 or any(page["data"] != pages[0]["data"] for page in pages):
        raise RuntimeError("the servers answer differently")


if __name__ == "__main__":
    show(measure())
