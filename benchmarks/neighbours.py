"""What a quiet project feels of a busy one beside it.

Run `python -m benchmarks.neighbours`; or some parts, as `python -m benchmarks.neighbours lists questions`. A
`lapel serve` as an operator starts it, with rate limits off. A quiet project does one thing after the other:
lists, creates a recording, searches, asks, waits for a webhook; and asks /health. In turns it is alone and
beside what a busy project does (`PARTS` of `disturbances.py`). The clients share the machine with the server:
the part `cores` shows how much of a ratio is the machine's, because there nobody else uses the server. The
other parts say how many times as much they take. The part `audio` is of files that take long to decode
(`long_audio.py`).
"""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from fastcrc import crc32

from benchmarks import long_audio
from benchmarks.disturbances import PARTS, World, disturb
from benchmarks.job_start import Client, served
from benchmarks.publication import Staged, UploadClient, stage
from benchmarks.report import Row, show
from benchmarks.speech_audio import part_of_sample
from tests.support.ports import free_ports

GOAL = 3.0
ROUNDS = 3
SECONDS = 4.0  # alone, and beside the busy project, in each round
PUBLICATIONS, PUBLICATION_BYTES = 4, 64 * 2**20
QUIET_PUBLICATIONS = 12  # of the quiet project: some alone, the others beside the large ones
AUDIO = "audio"
LOG_ENTRIES = 3_000
LONG_ROWS = 100
WRITERS = 8
QUESTION = "Was he an ill-disposed young man?"
_WARM = 3  # of each call
_PATIENCE = 60.0
_numbers = itertools.count(1)

Times = dict[str, list[float]]


def measure(parts: Sequence[str] = ()) -> list[Row]:
    """Medians of what the quiet project waits for, beside each of these parts (all, if none is named) and
    alone."""
    unknown = set(parts) - {*PARTS, AUDIO}
    if unknown:
        raise ValueError(
            f"no such part: {', '.join(sorted(unknown))}; there are {', '.join((*PARTS, AUDIO))}"
        )
    chosen = parts or (*PARTS, AUDIO)
    beside = [each for each in PARTS if each in chosen]
    rows = _measure_beside(beside) if beside else []
    return rows + (long_audio.measure() if AUDIO in chosen else [])


def _measure_beside(parts: list[str]) -> list[Row]:
    folder = Path(tempfile.mkdtemp(prefix="lapel-bench-"))
    ports = free_ports(2)
    command = [sys.executable, "-m", "benchmarks.peers.webhook_receiver"]
    receivers = [subprocess.Popen([*command, str(port)]) for port in ports]
    try:
        with served(folder / "data", LAPEL_OUTBOUND_NETWORKS="127.0.0.0/8") as client:
            urls = [f"http://127.0.0.1:{port}" for port in ports]
            return _Bench(client, folder, parts, *urls).rows()
    finally:
        for each in receivers:
            each.kill()
            each.wait()
        shutil.rmtree(folder, ignore_errors=True)


class _Bench:
    def __init__(self, client: Client, folder: Path, parts: list[str], receiver: str, of_busy: str) -> None:
        """`receiver` and `of_busy`: where the quiet project and the busy one receive webhooks."""
        self._folder, self._receiver, self._receiver_of_busy = folder, receiver, of_busy
        self._parts = parts
        self._audio = part_of_sample(folder, seconds=20).read_bytes()
        self._quiet = client
        self._transcribed(client)
        client.ask("POST", "/v1/webhooks", {"url": receiver, "events": ["recording.created"]})
        self._created = 0  # recordings of the quiet project since it has a webhook
        self._small: list[Staged] = []
        self._large: list[Staged] = []
        if "publications" in parts:
            uploads = UploadClient(_port_of(client), client.key)
            self._small = [self._staged(uploads, 1, folder) for _ in range(QUIET_PUBLICATIONS)]
        self._worlds = self._busy()

    def rows(self) -> list[Row]:
        """The quiet project's times, alone and beside each part."""
        calls = self._calls()
        for call in calls.values():
            for _ in range(_WARM):
                call()
        rows: list[Row] = []
        floor: Times = {}
        for part in self._parts:
            alone: Times = defaultdict(list)
            during: Times = defaultdict(list)
            rounds = 1 if part == "publications" else ROUNDS
            for _ in range(rounds):
                _measure_calls(calls, SECONDS, alone)
                self._measure_beside(part, calls, alone, during)
            load = os.getloadavg()[0]
            for call, times in during.items():
                row = _row(f"{call} beside {PARTS[part]}", alone[call], times, floor.get(call, []))
                how = f"{row.detail}, {rounds} round{'s' if rounds > 1 else ''}, load {load:.0f}"
                rows.append(replace(row, detail=how, at_most=None if part == "cores" else GOAL))
            if part == "cores":
                floor = during
        return rows

    def _measure_beside(
        self, part: str, calls: dict[str, Callable[[], None]], alone: Times, during: Times
    ) -> None:
        if part == "publications":
            self._publish(alone, len(self._small) // 2)
        with disturb(part, self._worlds, self._large):
            if part != "publications":
                time.sleep(2)  # its clients have started
            _measure_calls(calls, SECONDS, during)
            if part == "publications":
                self._publish(during, len(self._small))
                for each in self._large:
                    each.until_published()
        time.sleep(4)  # the server ends what its clients have left

    def _calls(self) -> dict[str, Callable[[], None]]:
        """What the quiet project does."""
        ask, end_user = self._quiet.ask, self._quiet.end_user

        def question() -> None:
            first = {"content": f"{QUESTION} {next(_numbers)}"}
            scope = {"scope": {"type": "library"}, "end_user_id": end_user}
            ask("POST", "/v1/ask/sessions", {**scope, "initial_message": first})

        def search() -> None:
            query = f"a young man {next(_numbers)}"
            ask("POST", "/v1/recordings/search", {"query": query, "end_user_id": end_user})

        def create() -> None:
            ask("POST", "/v1/recordings", {"end_user_id": end_user})
            self._created += 1

        def delivery() -> None:
            create()
            deadline = time.monotonic() + _PATIENCE
            # The delivery of an earlier recording may come during this call.
            while self._received() < self._created and time.monotonic() < deadline:
                time.sleep(0.005)

        return {
            "/health": lambda: ask("GET", "/health"),
            "list": lambda: ask("GET", "/v1/recordings?limit=20"),
            "create": create,
            "search": search,
            "ask": question,
            "delivery": delivery,
        }

    def _publish(self, found: Times, until: int) -> None:
        """Publish small encrypted recordings of the quiet project, one after the other."""
        for each in self._small[len(self._small) - until :]:
            began = time.monotonic()
            each.send()
            each.until_published()
            found["publication"].append(time.monotonic() - began)
        del self._small[len(self._small) - until :]

    def _received(self) -> int:
        with urllib.request.urlopen(f"{self._receiver}/count") as answer:
            return int(answer.read())

    def _transcribed(self, client: Client) -> None:
        """A recording with a transcript."""
        client.ask("PATCH", "/v1/config/processing", {"auto_transcription": {"enabled": True}})
        client.upload(self._audio)
        client.ask("PATCH", "/v1/config/processing", {"auto_transcription": {"enabled": False}})

    def _busy(self) -> list[World]:
        """The worlds of the busy project. Stages what it is going to publish."""
        data, base_url = self._folder / "data", self._quiet.base_url
        project = long_audio.lapel(data, "projects", "create", "Busy")["id"]
        keys = [
            long_audio.lapel(data, "keys", "create", "--project", project, "--mode", mode)["key"]
            for mode in ("test", "live")
        ]
        clients = [Client(base_url, each) for each in keys]
        for each in clients:
            self._transcribed(each)
        self._fill(clients[0])
        if "publications" in self._parts:
            uploads = UploadClient(_port_of(self._quiet), keys[0])
            self._large = [
                self._staged(uploads, PUBLICATION_BYTES, self._folder) for _ in range(PUBLICATIONS)
            ]
        worlds = [World(base_url, each.key, each.end_user, self._receiver_of_busy) for each in clients]
        for each in (*clients, self._quiet):
            each.rest()
        return worlds

    def _fill(self, client: Client) -> None:
        """A long audit log, and rows that are as large as rows may be."""
        metadata = {"note": "x" * 15_000}

        def fill(number: int) -> None:
            own = Client(client.base_url, client.key, external_id=f"filler {number}")
            for _ in range(LOG_ENTRIES // WRITERS):
                own.ask("POST", "/v1/end-users", {})

        with ThreadPoolExecutor(WRITERS) as threads:
            list(threads.map(fill, range(WRITERS)))
        for _ in range(LONG_ROWS):
            client.ask("POST", "/v1/recordings", {"end_user_id": client.end_user, "metadata": metadata})

    def _staged(self, client: UploadClient, size: int, folder: Path) -> Staged:
        staged = stage(client, folder / "sealed", _pages(size))
        (folder / "sealed").unlink()
        return staged


def _measure_calls(calls: dict[str, Callable[[], None]], seconds: float, found: Times) -> None:
    """Add the seconds of each call; an error counts as the time until it came."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name, call in calls.items():
            began = time.monotonic()
            try:
                call()
            except RuntimeError as refused:
                print(f"  {name}: {str(refused)[:200]}", flush=True)
            found[name].append(time.monotonic() - began)


def _port_of(client: Client) -> int:
    return urlsplit(client.base_url).port or 80


def _row(name: str, alone: list[float], during: list[float], floor: list[float]) -> Row:
    """`floor`: the times beside programs that use all cores; empty if they were not measured."""
    before, now = statistics.median(alone), statistics.median(during)
    most = [f"{1e3 * _p99(each):.1f}" for each in (alone, during)]
    detail = (
        f"p50 {1e3 * before:.1f} -> {1e3 * now:.1f} ms, p99 {most[0]} -> {most[1]} ms "
        f"({_p99(during) / _p99(alone):.1f} x), {len(alone)} and {len(during)} calls"
    )
    if floor:
        detail += f", {now / statistics.median(floor):.1f} x of p50 beside busy cores"
    return Row(name, now / before, "x", detail=detail)


def _p99(times: list[float]) -> float:
    return sorted(times)[int(0.99 * len(times))]


def _pages(size: int) -> Iterator[bytes]:
    """At least `size` bytes of Ogg with Opus: a stream, chained."""
    stream = _stream()
    for _ in range(-(-size // len(stream))):
        yield stream


@cache
def _stream() -> bytes:
    """A stream of the shortest pages, which take longest."""
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 0, 48_000, 0, 0)
    pages = [_page(2, 0, 0, head), _page(0, 0, 1, b"OpusTags" + bytes(8))]
    pages += [_page(0, 960 * number, number + 1, b"\xf8") for number in range(1, 20_000)]
    return b"".join([*pages, _page(4, 960 * 20_000, 20_001, b"\xf8")])


def _page(flags: int, granule: int, sequence: int, packet: bytes) -> bytes:
    page = bytearray(
        struct.pack("<5sBqIIIBB", b"OggS\0", flags, granule, 1, sequence, 0, 1, len(packet)) + packet
    )
    page[22:26] = struct.pack("<I", crc32.mpeg_2(bytes(page), 0))
    return bytes(page)


if __name__ == "__main__":
    show(measure(sys.argv[1:]))
