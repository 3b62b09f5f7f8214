"""From the answer to upload-complete to the start of the transcription that follows by itself.

Run `python -m benchmarks.job_start`. `lapel serve` as a user runs it; the local model transcribes. The start
is `started_at`, when a worker has the first step; both by this machine's clock.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from benchmarks.report import Row, show
from lapel.sample import speech

ALONE = 20
BESIDE = 40
_PATIENCE = 600.0


def measure() -> list[Row]:
    """p95 when the worker has nothing else to do, and while it has a line of others."""
    with tempfile.TemporaryDirectory(prefix="lapel-bench-", ignore_cleanup_errors=True) as folder:
        client = _Client(folder)
        try:
            client.api("PATCH", "/v1/config/processing", {"auto_transcription": {"enabled": True}})
            client.wait([client.upload()])  # the model is loaded
            alone: list[float] = []
            for _ in range(ALONE):
                uploaded = client.upload()
                client.wait([uploaded])
                alone.append(client.start_of(uploaded))
            line = [client.upload() for _ in range(BESIDE)]
            client.wait(line)
            beside = [client.start_of(each) for each in line]
        finally:
            client.close()
    return [
        Row(
            "upload-complete to job start, p95",
            _p95(alone),
            "ms",
            at_most=200,
            detail=f"median {statistics.median(alone):.0f} ms, {ALONE} uploads, one after the other",
        ),
        Row(
            "the same, with up to 40 transcriptions waiting, p95",
            _p95(beside),
            "ms",
            detail=f"median {statistics.median(beside):.0f} ms, {BESIDE} uploads at once",
        ),
    ]


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


class _Client:
    def __init__(self, folder: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LAPEL_")}
        command = [sys.executable, "-m", "lapel.cli.main", "serve", "--port", "0", "--json"]
        self._server = subprocess.Popen(
            [*command, "--data-dir", f"{folder}/data"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        if self._server.stdout is None:
            raise RuntimeError("no output")
        told = json.loads(self._server.stdout.readline())
        where = urlsplit(told["base_url"])
        self._http = http.client.HTTPConnection(where.hostname or "", where.port or 0, timeout=30)
        self._key = told["key"]
        self._end_user = self.api("POST", "/v1/end-users", {})["id"]
        self._completed: dict[str, float] = {}

    def upload(self) -> str:
        """A recording of 25 s of speech, uploaded; its id."""
        recording = self.api("POST", "/v1/recordings", {"end_user_id": self._end_user})["id"]
        sample, at = speech(), f"/v1/recordings/{recording}"
        upload = self.api("POST", f"{at}/upload-url", {"content_type": sample.content_type})
        link = urlsplit(upload["upload_url"])
        self._send("PUT", f"{link.path}?{link.query}", upload["headers"], sample.data)
        self.api("POST", f"{at}/upload-complete", {})
        self._completed[recording] = time.time()
        return recording

    def wait(self, recordings: list[str]) -> None:
        """Until all of them are transcribed."""
        deadline = time.monotonic() + _PATIENCE
        for each in recordings:
            while (found := self._transcription(each)) is None or found["status"] != "completed":
                if time.monotonic() > deadline or (found is not None and found["status"] == "failed"):
                    raise RuntimeError(f"not transcribed: {found}")
                time.sleep(0.1)

    def start_of(self, recording: str) -> float:
        """Milliseconds from the answer to upload-complete; 0 when it was quicker than the answer."""
        found = self._transcription(recording)
        if found is None:
            raise RuntimeError("it was there before")
        started = datetime.fromisoformat(found["started_at"]).timestamp()
        return max(0.0, (started - self._completed[recording]) * 1e3)

    def _transcription(self, recording: str) -> dict[str, Any] | None:
        page = self.api("GET", f"/v1/transcriptions?recording_id={recording}", None)
        return page["data"][0] if page["data"] else None

    def api(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """One call."""
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        return json.loads(
            self._send(method, path, headers, None if body is None else json.dumps(body).encode())
        )

    def _send(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> bytes:
        self._http.request(method, path, body, headers)
        answer = self._http.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path} answers {answer.status}: {content[:500]!r}")
        return content

    def close(self) -> None:
        """Stop the server."""
        self._http.close()
        self._server.send_signal(signal.SIGINT)
        self._server.wait(30)


if __name__ == "__main__":
    show(measure())
