"""The publication of a large encrypted upload, beside the rate at which this machine decrypts and hashes.

Run `python -m benchmarks.publication`. A recording of 256 MiB is sealed and staged; then its job is queued,
as the acceptance of a manifest queues it. The time ends when the session has its receipt: the object was
read, opened, verified, written, read back and committed by a worker process, with the embedded store.

The raw rate is that of ChaCha20-Poly1305 and SHA-256, one after the other, over one large buffer in one
thread of this process.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib import resources
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from benchmarks.report import Row, show
from benchmarks.rig import Api, rig
from lapel.foundation.ports import Ports, open_ports
from lapel.foundation.queue import jobs
from lapel.foundation.storage.object_names import SealedName
from lapel.slices.encrypted_uploads.documents import digests, hpke, manifest, signatures, upload_authorization
from lapel.slices.encrypted_uploads.documents.stored_object.frame import SealedObject
from lapel.slices.encrypted_uploads.documents.stored_object.sealer import BlockSealer, wrap
from lapel.slices.encrypted_uploads.documents.upload_authorization import Authorization
from lapel.slices.encrypted_uploads.payloads import PUBLISH, PublishSession

BYTES = int(os.environ.get("LAPEL_BENCH_PUBLICATION_BYTES", str(256 * 2**20)))
PUBLICATIONS = 3
GOAL = 0.5  # of the raw rate
_PATIENCE = 600.0
_RAW_BYTES = 32 * 2**20
_INSERT = """
INSERT INTO encrypted_upload_sessions
    (world_id, id, recording_id, device_id, end_user_id, owner_revision, state, channel, policy,
     policy_revision, binding_generation, recording_uuid, recording_generation, capabilities, auth_nonce,
     ciphertext_length, ciphertext_sha256, staging_key, upload_authorization, configuration,
     recipient_key_id, sealed_recipient_key, manifest, accepted_at, publish_at, clear_at, expires_at,
     created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, 1, 'ready', 'wifi', 'v2_preferred', 1, 1, $6, 1, $7, $8, $9, $10, $11, $12, $13,
        $14, $15, $16, $17, $17, $17, $17, $17, $17)
"""
_STATE = "SELECT state FROM encrypted_upload_sessions WHERE world_id = $1 AND id = $2"


@dataclass(frozen=True, slots=True)
class Published:
    """One publication: seconds from the job to the receipt, and CPU seconds of worker and store."""

    seconds: float
    worker: float


def measure() -> list[Row]:
    """The rate of a publication, and its share of the raw rate of the same minute."""
    with rig() as made:
        api = made.lapel(made.database("publication", 10))
        worker = made.worker(api)

        def cpu() -> float:
            used = worker.cpu_times()
            return used.user + used.system

        raw = raw_rate()
        published = asyncio.run(_measure(api, cpu))
        raw = max(raw, raw_rate())
    best = min(published, key=lambda each: each.seconds)
    rate = BYTES / best.seconds
    detail = f"best of {len(published)}; {best.worker:.2f} s of the worker's CPU; raw {raw / 1e6:,.0f} MB/s"
    return [
        Row(f"publication of {BYTES / 2**20:,.0f} MiB", rate / 1e6, "MB/s", detail=detail),
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


async def _measure(api: Api, cpu: Any) -> list[Published]:
    published: list[Published] = []
    async with open_ports(api.settings) as ports:
        for _ in range(PUBLICATIONS):
            session_id = await stage(api, ports)
            before, began = cpu(), time.perf_counter()
            async with ports.database.transaction() as connection:
                payload = PublishSession(api.filled.world_id, session_id)
                await jobs.enqueue(connection, PUBLISH, payload, dedupe=session_id)
            await _until_published(ports, payload)
            published.append(Published(time.perf_counter() - began, cpu() - before))
    return published


async def _until_published(ports: Ports, session: PublishSession) -> None:
    async with asyncio.timeout(_PATIENCE), ports.database.acquire() as connection:
        while (
            state := await connection.fetchval(_STATE, session.world_id, session.session_id)
        ) != "published":
            if state == "failed":
                raise RuntimeError("the publication failed")
            await asyncio.sleep(0.005)


async def stage(api: Api, ports: Ports) -> str:
    """Seal a recording, stage it, and store its session as one that is accepted. Returns the session's id."""
    end_user = "eu_" + "0" * 24
    device = _made(api, "/v1/devices", {"serial_number": f"BENCH-{uuid.uuid4()}", "model": "bench"})
    recording = _made(api, "/v1/recordings", {"end_user_id": end_user, "device_id": device["id"]})
    session, recording_uuid, recipient = uuid.uuid4(), uuid.uuid4(), hpke.new_private_key()
    data_key, now = os.urandom(32), ports.clock.now()
    key = SealedName(recording["project_id"], recording["id"], str(session)).key()
    sealer = BlockSealer(data_key, wrap(os.urandom(32), data_key, recording_uuid, 1))
    async with ports.store.writing(key) as staged:
        for piece in _audio():
            await staged.write(sealer.feed(piece))
        last, facts = sealer.finish()
        await staged.write(last)
    authorization = _authorized(facts, session, recording_uuid, recipient, int(now.timestamp()))
    values = (
        api.filled.world_id, str(session), recording["id"], device["id"], end_user, str(recording_uuid),
        bytes(24), bytes(16), facts.extent.ciphertext_length, facts.ciphertext_sha256.hex(), key,
        authorization, b"{}", str(uuid.uuid4()),
        ports.sealer.seal(recipient, f"encrypted-upload:{api.filled.world_id}:{session}".encode()),
        manifest.seal(facts, data_key, authorization), now,
    )  # fmt: skip
    async with ports.database.acquire() as connection:
        await connection.execute(_INSERT, *values)
    return str(session)


def _audio() -> Iterator[bytes]:
    """At least BYTES of Ogg with Opus: the sample, chained."""
    sample = (resources.files("lapel.sample") / "librivox.opus").read_bytes()
    chained = sample * (8 * 2**20 // len(sample))
    for _ in range(-(-BYTES // len(chained))):
        yield chained


def _authorized(
    facts: SealedObject, session: uuid.UUID, recording: uuid.UUID, recipient: bytes, now: int
) -> bytes:
    issued = Authorization(
        environment=2,
        policy=1,
        channel_mask=7,
        flags=7,
        owner_revision=1,
        binding_generation=1,
        recording_generation=1,
        signing_key_id=1,
        policy_revision=1,
        issued_at=now,
        expires_at=now + 3600,
        minimum_length=facts.extent.ciphertext_length,
        maximum_length=facts.extent.ciphertext_length,
        session_uuid=session,
        recipient_key_uuid=uuid.uuid4(),
        recording_uuid=recording,
        device_nonce=bytes(16),
        recipient_public_key=hpke.public_key(recipient),
        tenant=digests.tenant("benchmark", "benchmark"),
        device=digests.device_identity("benchmark"),
        configuration=digests.configuration(b"{}"),
        staging=bytes(32),
        ciphertext_sha256=facts.ciphertext_sha256,
    )
    return upload_authorization.encode(issued, signatures.private_key(signatures.new_private_key()))


def _made(api: Api, path: str, body: dict[str, Any]) -> dict[str, Any]:
    client = HTTPConnection("127.0.0.1", api.port, timeout=30)
    headers = {"Authorization": f"Bearer {api.filled.key}", "Content-Type": "application/json"}
    client.request("POST", path, json.dumps(body), headers)
    answer = client.getresponse()
    content = answer.read()
    client.close()
    if answer.status != 201:
        raise RuntimeError(f"{path} answers {answer.status}: {content[:500]!r}")
    return json.loads(content)


if __name__ == "__main__":
    show(measure())
