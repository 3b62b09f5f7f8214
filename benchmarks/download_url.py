"""`POST /v1/recordings/{id}/download-url`, the hot call: Lapel, a textbook peer and two sketches in turn.

Run `python -m benchmarks.download_url`. One server process each, 64 connections, 20,000 recordings asked
for at random, rate limits off, all on one embedded PostgreSQL with default durability.
"""

from __future__ import annotations

import http.client
import json
import statistics
import threading
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchmarks import load
from benchmarks.load import Load
from benchmarks.report import Row, show
from benchmarks.rig import ACCESS_KEY, SECRET_KEY, Api, Server, ask, rig
from lapel.foundation.storage.credentials import Credentials, StaticCredentials
from lapel.foundation.storage.presign import Presigner

RECORDINGS = 20_000
ROUNDS = 5
SECONDS = 4.0
PUT_ROUNDS = 3
PUT_BYTES = 10**9
_BLOCK = bytes(1 << 20)


def requests_for(api: Api, token: str, path: Path) -> Path:
    """Writes download-url requests to `path`, one for each media of the sample."""
    return load.write_requests(
        path,
        f"127.0.0.1:{api.port}",
        [
            (
                "POST",
                f"/v1/recordings/{recording}/download-url",
                token,
                json.dumps({"media_id": media}).encode(),
            )
            for recording, media in api.filled.media
        ],
    )


def measure() -> list[Row]:
    """Figures of the hot call, alone and during uploads, and the memory of the API process after it."""
    with rig() as made:
        api = made.lapel(made.database("hot", RECORDINGS))
        ours = requests_for(api, api.filled.key, made.folder / "ours")
        plain = requests_for(api, api.filled.plain_key, made.folder / "plain")
        contestants: list[tuple[Server, Path]] = [
            (api, ours),
            (made.peer("bare", api), ours),
            (made.peer("bare_together", api), ours),
            (made.peer("textbook", api), plain),
            (made.peer("textbook", api, name="textbook, cached key", BENCH_CACHED_KEY="1"), plain),
        ]
        _check_same_answers(api, contestants)
        rows = _compare(contestants)
        rows += _during_uploads(api, ours)
        rss, pss = api.memory
        return [
            *rows,
            Row("API process after the load: RSS", rss, "MiB", at_most=150, detail=f"PSS {pss:.0f} MiB"),
        ]


def _compare(contestants: list[tuple[Server, Path]]) -> list[Row]:
    loads: dict[str, list[Load]] = {server.name: [] for server, _ in contestants}
    cpu: dict[str, float] = dict.fromkeys(loads, 0.0)
    for server, requests in contestants:
        load.run(requests, server.port, seconds=1)
    for _ in range(ROUNDS):
        for server, requests in contestants:
            before = server.cpu_seconds
            loads[server.name].append(load.run(requests, server.port, seconds=SECONDS))
            cpu[server.name] += server.cpu_seconds - before
    found = {name: load.median(each) for name, each in loads.items()}
    cost = {name: cpu[name] / found[name].requests * 1e6 for name in found}
    how = f"{ROUNDS} rounds of {SECONDS:.0f} s in turn, {load.CONNECTIONS} connections, {load.generator()}"
    rows = [
        Row(
            f"download-url, {name}",
            seen.rate,
            "req/s",
            detail=f"p50 {seen.p50 * 1e3:.2f} ms, p99 {seen.p99 * 1e3:.2f} ms, {cost[name]:.0f} us CPU each",
        )
        for name, seen in found.items()
    ]
    rows.append(Row("download-url, lapel: p99", found["lapel"].p99 * 1e3, "ms", at_most=20))
    goals = {"textbook": 3.0, "textbook, cached key": None, "bare": 1.4, "bare_together": 0.75}
    rows += [
        Row(
            f"download-url: rate, of {name}",
            found["lapel"].rate / found[name].rate,
            at_least=goal,
            detail=f"by CPU time {cost[name] / cost['lapel']:.2f} x; {how}",
        )
        for name, goal in goals.items()
    ]
    return rows


def _check_same_answers(api: Api, contestants: list[tuple[Server, Path]]) -> None:
    """Raises RuntimeError unless all servers answer the same link, apart from its time."""
    recording, media = api.filled.media[0]
    seen: set[str] = set()
    for server, _ in contestants:
        token = api.filled.plain_key if server.name.startswith("textbook") else api.filled.key
        body = json.dumps({"media_id": media}).encode()
        status, content = ask(server.port, "POST", f"/v1/recordings/{recording}/download-url", token, body)
        if status != 200:
            raise RuntimeError(f"{server.name} answers {status}: {content[:500]!r}")
        answer = json.loads(content)
        link = urlsplit(answer.pop("download_url"))
        query = {key: value for key, value in parse_qs(link.query).items() if key.startswith("response-")}
        answer.pop("expires_at")
        seen.add(json.dumps([link.netloc, link.path, query, answer], sort_keys=True))
    if len(seen) != 1:
        raise RuntimeError(f"the servers answer differently: {seen}")


def _during_uploads(api: Api, requests: Path) -> list[Row]:
    """Latencies while 1 GB objects are PUT to the store on the same listener, and those just before."""
    alone: list[Load] = []
    beside: list[Load] = []
    put_rates: list[float] = []
    for _ in range(PUT_ROUNDS):
        alone.append(load.run(requests, api.port, seconds=SECONDS))
        stop = threading.Event()
        uploads = threading.Thread(target=_upload, args=(api, stop, put_rates), daemon=True)
        uploads.start()
        try:
            beside.append(load.run(requests, api.port, seconds=SECONDS))
        finally:
            stop.set()
            uploads.join()
    if not put_rates:
        raise RuntimeError("no upload was finished")
    quiet, busy = load.median(alone), load.median(beside)
    return [
        Row(
            "download-url: p99 during 1 GB PUTs, of p99 alone",
            busy.p99 / quiet.p99,
            detail=f"p99 {quiet.p99 * 1e3:.1f} -> {busy.p99 * 1e3:.1f} ms, "
            f"p50 {quiet.p50 * 1e3:.1f} -> {busy.p50 * 1e3:.1f} ms, "
            f"{quiet.rate:.0f} -> {busy.rate:.0f} req/s; "
            f"PUT {statistics.mean(put_rates) / 1e6:.0f} MB/s",
        )
    ]


def _upload(api: Api, stop: threading.Event, rates: list[float]) -> None:
    """PUT 1 GB again and again until `stop` is set; the last one is finished."""
    signer = Presigner(
        api.settings.store_url,
        region=api.settings.s3_region,
        bucket=api.settings.s3_bucket,
        credentials=StaticCredentials(Credentials(ACCESS_KEY, SECRET_KEY)),
    )
    while not stop.is_set():
        signed = signer.put_url(
            "staging/benchmark",
            now=datetime.now(UTC),
            expires_in=600,
            content_type="audio/ogg",
            content_length=PUT_BYTES,
        )
        began = datetime.now(UTC)
        _put(signed.url, signed.headers, PUT_BYTES)
        rates.append(PUT_BYTES / (datetime.now(UTC) - began).total_seconds())


def _put(url: str, headers: dict[str, str], size: int) -> None:
    link = urlsplit(url)
    connection = http.client.HTTPConnection(link.netloc, timeout=120)
    connection.putrequest("PUT", f"{link.path}?{link.query}")
    for name, value in {**headers, "Content-Length": str(size)}.items():
        connection.putheader(name, value)
    connection.endheaders()
    for at in range(0, size, len(_BLOCK)):
        connection.send(_BLOCK[: size - at])
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status >= 300:
        raise RuntimeError(f"PUT answers {answer.status}: {content[:500]!r}")


if __name__ == "__main__":
    show(measure())
