"""The publication of a large encrypted upload, beside the rate at which this machine decrypts and hashes.

Run `python -m benchmarks.publication`. A recording of 1 GiB is sealed and uploaded through the API. The
time begins with the request that sends its manifest, and ends when the session has its receipt: the worker
has read, opened, verified, written, read back and committed the object, with the embedded store.

The raw rate is that of ChaCha20-Poly1305 and SHA-256, one after the other, over one large buffer in one
thread of this process.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from benchmarks.report import Row, show
from benchmarks.rig import rig
from tests.support.device_sealing import BlockSealer, seal_manifest, wrap
from tests.support.sealed_uploads import CAPABILITIES, base64_of

BYTES = 2**30
PUBLICATIONS = 3
GOAL = 0.5  # of the raw rate
_PATIENCE = 600.0
_RAW_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Published:
    """One publication: seconds from the manifest to the receipt, and CPU seconds of the worker."""

    seconds: float
    worker: float


def measure() -> list[Row]:
    """The rate of a publication, and its share of the raw rate of the same minutes."""
    rates = [raw_rate()]
    published: list[Published] = []
    for _ in range(PUBLICATIONS):
        # Each with its own worker, because a worker decodes what it has published, for the waveform.
        with rig() as made:
            api = made.lapel(made.database("publication", 10))
            client = UploadClient(api.port, api.filled.key)
            published.append(_publish(client, made.folder / "sealed", made.worker(api)))
        rates.append(raw_rate())
    best, raw = min(published, key=lambda each: each.seconds), max(rates)
    rate = BYTES / best.seconds
    detail = f"best of {len(published)}, {best.worker:.1f} s of the worker's CPU; raw {raw / 1e6:,.0f} MB/s"
    return [
        Row(f"publication of {BYTES // 2**20} MiB", rate / 1e6, "MB/s", detail=detail),
        Row("publication, of the raw rate", rate / raw, at_least=GOAL),
    ]


def raw_rate() -> float:
    """Bytes per second of decryption and hash, the best of some tries."""
    cipher, nonce = ChaCha20Poly1305(bytes(32)), bytes(12)
    sealed = cipher.encrypt(nonce, os.urandom(_RAW_BYTES), None)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        hashlib.sha256(cipher.decrypt(nonce, sealed, None)).digest()
        best = min(best, time.perf_counter() - began)
    return _RAW_BYTES / best


@dataclass(frozen=True, slots=True)
class Staged:
    """An encrypted recording that is uploaded, and whose manifest is not sent yet."""

    client: UploadClient
    session: str
    manifest: dict[str, Any]

    def send(self) -> None:
        """Send the manifest: the publication begins."""
        self.client.ask("POST", f"{self.session}/manifest", self.manifest)

    def until_published(self) -> None:
        """Wait for the receipt."""
        deadline = time.perf_counter() + _PATIENCE
        while (state := self.client.ask("GET", self.session)["state"]) != "published":
            if state == "failed" or time.perf_counter() > deadline:
                raise RuntimeError(f"the session is {state}")
            time.sleep(0.05)


def stage(client: UploadClient, file: Path, audio: Iterable[bytes]) -> Staged:
    """Seal a recording of a new device into a file, and upload it."""
    end_user = client.ask("POST", "/v1/end-users", {})["id"]
    device = client.ask("POST", "/v1/devices", {"serial_number": f"BENCH-{uuid.uuid4()}", "model": "bench"})[
        "id"
    ]
    bound = client.ask("POST", f"/v1/devices/{device}/bind", {"end_user_id": end_user})
    recording = client.ask("POST", "/v1/recordings", {"end_user_id": end_user, "device_id": device})["id"]
    recording_uuid, data_key = uuid.uuid4(), os.urandom(32)
    sealer = BlockSealer(data_key, wrap(os.urandom(32), data_key, recording_uuid, 1))
    with file.open("wb") as content:
        for piece in audio:
            content.write(sealer.feed(piece))
        last, facts = sealer.finish()
        content.write(last)
    sessions = f"/v1/recordings/{recording}/encrypted-upload-v2/sessions"
    body = {
        "device_id": device,
        "binding_generation": bound["binding_generation"],
        "recording_uuid": str(recording_uuid),
        "recording_generation": 1,
        "storage_format": "bota_enc_v2",
        "channel": "wifi",
        "capabilities_base64": base64_of(CAPABILITIES),
        "auth_nonce_base64": base64_of(os.urandom(16)),
        "ciphertext_length": facts.extent.ciphertext_length,
        "ciphertext_sha256": facts.ciphertext_sha256.hex(),
    }
    session = client.ask("POST", sessions, body)
    client.put(session["staging"], file)
    document = seal_manifest(facts, data_key, base64.b64decode(session["authorization_base64"]))
    sent = {
        "owner_revision": session["owner_revision"],
        "manifest_base64": base64_of(document),
        "manifest_sha256": hashlib.sha256(document).hexdigest(),
    }
    return Staged(client, f"{sessions}/{session['session_id']}", sent)


def _publish(client: UploadClient, file: Path, worker: psutil.Process) -> Published:
    """Seal and upload a recording, then send its manifest and wait for the receipt."""
    staged = stage(client, file, _audio())
    before, began = _cpu(worker), time.perf_counter()
    staged.send()
    staged.until_published()
    return Published(time.perf_counter() - began, _cpu(worker) - before)


class UploadClient:
    """Calls of an API on this machine, and of its store."""

    def __init__(self, port: int, key: str) -> None:
        self._key = key
        self._port = port

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The decoded answer of one call."""
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body)
        return json.loads(_send(self._port, method, path, headers, content))

    def put(self, staging: dict[str, Any], file: Path) -> None:
        """PUT a file to the URL of an answer."""
        url = urlsplit(staging["url"])
        headers = {**staging["headers"], "Content-Length": str(file.stat().st_size)}
        with file.open("rb") as content:
            _send(url.port or 80, "PUT", f"{url.path}?{url.query}", headers, content)


def _send(port: int, method: str, path: str, headers: dict[str, str], body: Any) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path.partition('?')[0]} answers {answer.status}: {content[:500]!r}")
    return content


def _audio() -> Iterator[bytes]:
    """At least BYTES of Ogg with Opus: the sample, chained."""
    sample = (resources.files("lapel.sample") / "librivox.opus").read_bytes()
    chained = sample * (8 * 2**20 // len(sample))
    for _ in range(-(-BYTES // len(chained))):
        yield chained


def _cpu(process: psutil.Process) -> float:
    used = process.cpu_times()
    return used.user + used.system


if __name__ == "__main__":
    show(measure())
