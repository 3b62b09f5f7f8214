"""The whole upload of a small recording, step by step, one after the other.

Run `python -m benchmarks.complete`. create, upload-url, PUT (fsynced), upload-complete (copied, hashed and
committed), download-url, GET; one client, keep-alive.

`python -m benchmarks.complete ../earlier` compares with the version in another checkout, which has its own
`.venv` (`make -C ../earlier setup-dev`): both serve at the same time, and one client uploads to them in turn.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks import checkouts
from benchmarks.report import Row, show
from benchmarks.rig import rig

RECORDINGS = 1_000
UPLOADS = 200
SIZE = 100_000  # bytes: 25 s of speech at 32 kb/s
_STEPS = ("create", "upload-url", "PUT", "upload-complete", "download-url", "GET")


# Run in the other checkout by its own interpreter: serves until the input ends.
_SERVE = f"""
import json, sys
from benchmarks.rig import rig
with rig() as made:
    api = made.lapel(made.database("complete", {RECORDINGS}))
    print(json.dumps([api.port, api.filled.key]), flush=True)
    sys.stdin.read()
"""


def measure() -> list[Row]:
    """Median and p95 of each step, in milliseconds."""
    with rig() as made:
        api = made.lapel(made.database("complete", RECORDINGS))
        client = _Client(api.port, api.filled.key)
        _upload_in_turn(client)
    return [
        Row(
            f"one small upload: {step}",
            statistics.median(times) * 1e3,
            "ms",
            detail=f"p95 {statistics.quantiles(times, n=20)[-1] * 1e3:.1f} ms, {UPLOADS} of {SIZE:,} bytes",
        )
        for step, times in client.times.items()
    ]


def compare(earlier: Path) -> list[Row]:
    """Medians of each step divided by those of the version in the checkout `earlier`."""
    with _serving(checkouts.HERE) as here, _serving(earlier) as there:
        _upload_in_turn(here, there)
    return [
        Row(
            f"one small upload: {step}, of the earlier version",
            statistics.median(here.times[step]) / statistics.median(there.times[step]),
            detail=f"medians {statistics.median(here.times[step]) * 1e3:.2f} and "
            f"{statistics.median(there.times[step]) * 1e3:.2f} ms, {UPLOADS} of {SIZE:,} bytes in turn",
        )
        for step in _STEPS
    ]


@contextmanager
def _serving(checkout: Path) -> Generator[_Client]:
    """A client of the version in `checkout`, which serves until the block ends."""
    started = checkouts.python(checkout, _SERVE)
    with subprocess.Popen(**started, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None  # it is a pipe
        assert process.stdout is not None
        yield _Client(*json.loads(process.stdout.readline()))
        process.stdin.close()


def _upload_in_turn(*clients: _Client) -> None:
    """Ten uploads of each client to warm up, then UPLOADS that count."""
    for number in range(10 + UPLOADS):
        for client in clients:
            if number == 10:
                client.times = {step: [] for step in _STEPS}
            client.upload()


class _Client:
    def __init__(self, port: int, key: str) -> None:
        self._key = key
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.times: dict[str, list[float]] = {step: [] for step in _STEPS}

    def upload(self) -> None:
        body = bytes(range(256)) * (SIZE // 256) + bytes(SIZE % 256)
        end_user = "eu_" + "0" * 24
        made = self._api("create", "/v1/recordings", {"end_user_id": end_user})
        at = f"/v1/recordings/{made['id']}"
        upload = self._api("upload-url", f"{at}/upload-url", {"content_type": "audio/ogg"})
        link = urlsplit(upload["upload_url"])
        self._send("PUT", "PUT", f"{link.path}?{link.query}", upload["headers"], body)
        self._api("upload-complete", f"{at}/upload-complete", {})
        download = self._api("download-url", f"{at}/download-url", {"media_id": upload["media_id"]})
        link = urlsplit(download["download_url"])
        if self._send("GET", "GET", f"{link.path}?{link.query}", {}, b"") != body:
            raise RuntimeError("what came back is not what went in")

    def _api(self, step: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        return json.loads(self._send(step, "POST", path, headers, json.dumps(body).encode()))

    def _send(self, step: str, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
        began = time.perf_counter()
        self._http.request(method, path, body or None, headers)
        answer = self._http.getresponse()
        content = answer.read()
        self.times[step].append(time.perf_counter() - began)
        if answer.status >= 300:
            raise RuntimeError(f"{step} answers {answer.status}: {content[:500]!r}")
        return content


if __name__ == "__main__":
    show(compare(Path(sys.argv[1]).resolve()) if len(sys.argv) > 1 else measure())
