"""Time from the answer to upload-complete to the start of the transcription that the configuration asks for.

Run `python -m benchmarks.job_start`. A `lapel serve` as an operator starts it; short recordings, each
uploaded after the one before is transcribed: on an idle machine, and beside as many busy loops as there are
cores. The start is `started_at`, written when a worker has taken the first step.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.busy import busy
from benchmarks.report import Row, show
from benchmarks.speech_audio import part_of_sample

UPLOADS = 40
_PATIENCE = 120.0


def measure() -> list[Row]:
    """Milliseconds to the start, and to the complete transcript."""
    folder = Path(tempfile.mkdtemp(prefix="lapel-bench-"))
    try:
        # No two are alike, or the models could remember what they computed for the one before.
        parts = [part_of_sample(folder, start=number / 2, seconds=3) for number in range(UPLOADS + 1)]
        audio = [each.read_bytes() for each in parts]
        with served(folder / "data") as client:
            client.ask("PATCH", "/v1/config/processing", {"auto_transcription": {"enabled": True}})
            client.upload(audio.pop())  # loads the models
            rows = _rows("", list(map(client.upload, audio)))
            with busy():
                return rows + _rows(", all cores busy", list(map(client.upload, audio)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rows(when: str, waits: list[tuple[float, float]]) -> list[Row]:
    starts, ends = zip(*waits, strict=True)
    p95 = statistics.quantiles(starts, n=20)[-1]
    return [
        Row(
            f"upload-complete to job start{when}: p95",
            p95 * 1e3,
            "ms",
            at_most=200,
            detail=f"median {statistics.median(starts) * 1e3:.0f} ms, most {max(starts) * 1e3:.0f} ms,"
            f" {UPLOADS} recordings of 3 s",
        ),
        Row(f"upload-complete to transcript, 3 s of speech{when}", statistics.median(ends), "s"),
    ]


class Client:
    """Uploads for one end user, and other calls to the API of a server."""

    def __init__(self, base_url: str, key: str, *, external_id: str = "benchmark") -> None:
        self.key = key
        self.base_url = base_url
        where = urlsplit(base_url)
        self._http = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        self.end_user: str = self.ask("POST", "/v1/end-users", {"external_id": external_id})["id"]

    def upload(self, audio: bytes) -> tuple[float, float]:
        """Seconds from the answer to upload-complete to the start of the transcription, and to its end."""
        recording = self.send(audio)
        answered = time.time()
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            found = self.ask("GET", f"/v1/transcriptions?recording_id={recording}")["data"]
            if found and found[0]["status"] in ("completed", "failed"):
                if found[0]["status"] == "failed":
                    raise RuntimeError(f"the transcription failed: {found[0]['error']}")
                started, completed = (
                    datetime.fromisoformat(found[0][name]).timestamp()
                    for name in ("started_at", "completed_at")
                )
                # A job may start before the answer to upload-complete arrives here.
                return max(0.0, started - answered), completed - answered
            time.sleep(0.02)
        raise RuntimeError("no transcription was made")

    def send(self, audio: bytes) -> str:
        """Upload and complete a recording; gives its id."""
        recording: str = self.ask("POST", "/v1/recordings", {"end_user_id": self.end_user})["id"]
        at = f"/v1/recordings/{recording}"
        upload = self.ask("POST", f"{at}/upload-url", {"content_type": "audio/ogg"})
        link = urlsplit(upload["upload_url"])
        self._send("PUT", f"{link.path}?{link.query}", upload["headers"], audio)
        self.ask("POST", f"{at}/upload-complete", {})
        return recording

    def rest(self) -> None:
        """Close the connection before the server does; the next call connects again."""
        self._http.close()

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One call to the API."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        content = b"" if body is None else json.dumps(body).encode()
        answer = self._send(method, path, headers, content)
        return json.loads(answer) if answer else None

    def _send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
        self._http.request(method, path, body or None, headers)
        answer = self._http.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path} answers {answer.status}: {content[:500]!r}")
        return content


@contextlib.contextmanager
def served(data: Path, **variables: str) -> Generator[Client]:
    """`lapel serve` on a folder, during a block. `variables` are LAPEL_* settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAPEL_")}
    environment |= {"LAPEL_RATE_LIMITS": "off", **variables}
    command = [sys.executable, "-m", "lapel.cli.main", "serve", "--data-dir", str(data), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        line = process.stdout.readline() if process.stdout is not None else b""
        if not line:
            raise RuntimeError("`lapel serve` does not start")
        told = json.loads(line)
        # Into a pipe only the name of the key's file is printed.
        yield Client(told["base_url"], Path(told["key_file"]).read_text(encoding="ascii").strip())
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    show(measure())
