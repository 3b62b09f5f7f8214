"""The whole upload of a small recording, step by step, one after the other.

Run `python -m benchmarks.complete`. create, upload-url, PUT (fsynced), upload-complete (copied, hashed and
committed), download-url, GET; one client, keep-alive.
"""

from __future__ import annotations

import http.client
import json
import statistics
import time
from typing import Any
from urllib.parse import urlsplit

from benchmarks.report import Row, show
from benchmarks.rig import Api, rig

UPLOADS = 200
SIZE = 100_000  # bytes: 25 s of speech at 32 kb/s
_STEPS = ("create", "upload-url", "PUT", "upload-complete", "download-url", "GET")


def measure() -> list[Row]:
    """Median and p95 of each step, in milliseconds."""
    with rig() as made:
        api = made.lapel(made.database("complete", 1_000))
        client = _Client(api)
        for _ in range(10):
            client.upload()
        client.times = {step: [] for step in _STEPS}
        for _ in range(UPLOADS):
            client.upload()
    return [
        Row(
            f"one small upload: {step}",
            statistics.median(times) * 1e3,
            "ms",
            detail=f"p95 {statistics.quantiles(times, n=20)[-1] * 1e3:.1f} ms, {UPLOADS} of {SIZE:,} bytes",
        )
        for step, times in client.times.items()
    ]


class _Client:
    def __init__(self, api: Api) -> None:
        self._key = api.filled.key
        self._http = http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)
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
    show(measure())
