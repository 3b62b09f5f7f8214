"""`POST /v1/devices/me/heartbeat`: beside bare upserts, and a fleet of 400,000 devices on two processes.

Run `python -m benchmarks.heartbeat`. All on one embedded PostgreSQL with default durability.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.load import Load
from benchmarks.report import Row, show
from benchmarks.rig import Api, Rig, Server, ask, rig

DEVICES = 400_000
PERIOD = 60.0
ROUNDS = 5
SECONDS = 4.0
FLEET_SECONDS = 300.0
CONNECTIONS = 256
PATH = "/v1/devices/me/heartbeat"


@dataclass(frozen=True, slots=True)
class Paced:
    """A fleet's latencies, in seconds from the time at which each request was due."""

    rate: float
    p50: float
    p95: float
    p99: float


def measure() -> list[Row]:
    """Figures of one process compared with the sketch, and of the fleet."""
    with rig() as made:
        database = made.database("beat", 1000)
        tokens = made.devices("beat", database[1].world_id, DEVICES)
        (made.folder / "tokens").write_text("\n".join(tokens), encoding="ascii")
        api = made.lapel(database)
        tokens_file = str(made.folder / "tokens")
        bare = [
            made.peer(module, api, BENCH_TOKENS=tokens_file)
            for module in ("bare_heartbeat", "bare_heartbeat_together")
        ]
        requests = _requests(tokens, made.folder / "requests", api.port)
        _check_same_answers((api, *bare), tokens[0])
        rows = _compare(made, api, bare, requests)
        two = made.lapel(database, processes=2, LAPEL_RATE_LIMITS="on")
        return [*rows, *_fleet(made, two, requests)]


def _requests(tokens: Sequence[str], path: Path, port: int) -> Path:
    """Writes one heartbeat of each device, in random order."""
    chance = random.Random(1)
    each = [("POST", PATH, token, _body(chance)) for token in tokens]
    chance.shuffle(each)
    return load.write_requests(path, f"127.0.0.1:{port}", each)


def _body(chance: random.Random) -> bytes:
    return json.dumps(
        {
            "battery_percent": chance.randrange(20, 101),
            "storage_used_mb": chance.randrange(32_000),
            "storage_total_mb": 32_000,
            "signal_strength_dbm": -chance.randrange(40, 100),
            "firmware_version": "1.4.2",
            "device_state": "idle",
            "pending_recordings": chance.randrange(5),
            "flags": chance.choice((0, 8, 9, 16)),
            "connection_type": [chance.choice(("wifi", "4g"))],
        }
    ).encode()


def _check_same_answers(servers: Sequence[Server], token: str) -> None:
    """Raises RuntimeError unless all servers answer alike."""
    seen = {ask(server.port, "POST", PATH, token, _body(random.Random(2))) for server in servers}
    if len({(status, json.dumps(json.loads(body), sort_keys=True)) for status, body in seen}) != 1:
        raise RuntimeError(f"the servers answer differently: {seen}")


def _compare(made: Rig, api: Api, bare: Sequence[Server], requests: Path) -> list[Row]:
    servers = (api, *bare)
    loads: dict[str, list[Load]] = {server.name: [] for server in servers}
    cpu: dict[str, tuple[float, float]] = dict.fromkeys(loads, (0.0, 0.0))
    for server in servers:
        load.run(requests, server.port, seconds=1)
    for _ in range(ROUNDS):
        for server in servers:
            before = server.cpu_seconds, made.postgres_cpu_seconds
            loads[server.name].append(load.run(requests, server.port, seconds=SECONDS))
            own, database = cpu[server.name]
            cpu[server.name] = (
                own + server.cpu_seconds - before[0],
                database + made.postgres_cpu_seconds - before[1],
            )
    found = {name: load.median(each) for name, each in loads.items()}
    rows: list[Row] = []
    cost: dict[str, float] = {}
    stored: dict[str, float] = {}
    for name, seen in found.items():
        own, database = (each / seen.requests * 1e6 for each in cpu[name])
        cost[name], stored[name] = own + database, database
        detail = f"p50 {seen.p50 * 1e3:.1f} ms, p99 {seen.p99 * 1e3:.1f} ms; {own:.0f} us CPU each, "
        rows.append(
            Row(f"heartbeat, {name}", seen.rate, "req/s", detail=f"{detail}{database:.0f} us in PostgreSQL")
        )
    how = f"{ROUNDS} rounds of {SECONDS:.0f} s in turn, {load.CONNECTIONS} connections, {load.generator()}"
    rows.append(Row("heartbeat, lapel: CPU time in PostgreSQL", stored[api.name], "us", at_most=60))
    rows += [
        Row(
            f"heartbeat: rate, of {name}",
            found[api.name].rate / found[name].rate,
            at_least=goal,
            detail=f"by CPU time {cost[name] / cost[api.name]:.2f} x; {how}",
        )
        for name, goal in zip((each.name for each in bare), (1.2, None), strict=True)
    ]
    return rows


def _fleet(made: Rig, two: Api, requests: Path) -> list[Row]:
    """A fleet on two processes with rate limits: as fast as possible, then at its own pace."""
    load.run(requests, two.port, seconds=3)
    hardest = load.run(requests, two.port, seconds=10)
    goal = DEVICES / PERIOD
    before = two.cpu_seconds, made.postgres_cpu_seconds
    seen = _paced(requests, two.port, goal)
    own, database = two.cpu_seconds - before[0], made.postgres_cpu_seconds - before[1]
    busy = (own + database) / FLEET_SECONDS
    hot, updates = made.updates_in_place("beat")
    return [
        Row(
            f"heartbeats of {DEVICES:,} devices, as fast as it goes",
            hardest.rate,
            "req/s",
            at_least=goal,
            detail=f"2 processes, limits on, {load.CONNECTIONS} connections: p50 {hardest.p50 * 1e3:.1f} ms, "
            f"p99 {hardest.p99 * 1e3:.1f} ms",
        ),
        Row(
            f"heartbeats of {DEVICES:,} devices, one a minute each",
            seen.rate,
            "req/s",
            at_least=goal * 0.99,  # the last heartbeats of a load are answered after it
            detail=f"{FLEET_SECONDS:.0f} s: p50 {seen.p50 * 1e3:.1f} ms, p95 {seen.p95 * 1e3:.1f} ms, "
            f"p99 {seen.p99 * 1e3:.1f} ms; CPU: API {own / FLEET_SECONDS:.2f}, PostgreSQL "
            f"{database / FLEET_SECONDS:.2f}, together {busy:.2f} cores",
        ),
        Row("heartbeats of the fleet: p99", seen.p99 * 1e3, "ms", at_most=100),
        Row("heartbeats: updates in place (HOT)", hot / updates, detail=f"{hot:,} of {updates:,}"),
    ]


def _paced(requests: Path, port: int, rate: float) -> Paced:
    command = [sys.executable, "-m", "benchmarks.paced_client", str(requests), "127.0.0.1", str(port)]
    done = subprocess.run(
        [*command, str(CONNECTIONS), str(rate), str(FLEET_SECONDS)],
        capture_output=True,
        text=True,
        check=True,
    )
    seen = json.loads(done.stdout)
    if seen["failed"]:
        raise RuntimeError(f"{seen['failed']} of {seen['requests']} heartbeats failed")
    return Paced(seen["requests"] / seen["seconds"], seen["p50"], seen["p95"], seen["p99"])


if __name__ == "__main__":
    show(measure())
