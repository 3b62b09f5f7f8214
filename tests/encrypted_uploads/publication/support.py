"""Sessions whose manifest was accepted, and publishers that run one job at a time."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import msgspec

from lapel import app
from lapel.foundation.ports import Ports
from lapel.foundation.storage.streams import ObjectUpload
from lapel.slices.encrypted_uploads.documents import upload_authorization
from lapel.slices.encrypted_uploads.documents.receipt import Receipt
from lapel.slices.encrypted_uploads.payloads import PublishSession
from lapel.slices.encrypted_uploads.publication.publisher import Publisher
from lapel.slices.encrypted_uploads.signing.signing_keys import SigningKeys
from tests.recordings.support import Device, Json
from tests.support.device_verification import Expectations, verify_receipt
from tests.support.sealed_uploads import Phone, SealedRecording, phone_of, seal

SAMPLE = (resources.files("lapel.sample") / "librivox.opus").read_bytes()
READ = "SELECT * FROM encrypted_upload_sessions WHERE world_id = $1 AND id = $2"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A session whose manifest was accepted, and the plain text that was sealed."""

    world_id: int
    phone: Phone
    session: Json
    sealed: SealedRecording
    plaintext: bytes

    @property
    def session_id(self) -> str:
        """Its id."""
        return self.session["session_id"]

    @property
    def recording_id(self) -> str:
        """Its recording."""
        return self.session["recording_id"]

    @property
    def staging_key(self) -> str:
        """The name of its staged object."""
        return f"sealed/{self.session['project_id']}/{self.recording_id}/{self.session_id}"

    @property
    def copies(self) -> str:
        """The prefix of all plain objects of the recording."""
        return f"media/{self.session['project_id']}/{self.recording_id}/"

    @property
    def payload(self) -> PublishSession:
        """The job's."""
        return PublishSession(self.world_id, self.session_id)


async def accepted(
    device: Device,
    plaintext: bytes = SAMPLE,
    *,
    again: Accepted | None = None,
    before: Callable[[str], Awaitable[object]] | None = None,
    change_at: int | None = None,
    said_sha256: bytes | None = None,
) -> Accepted:
    """Seal a plain text, upload it, and send its manifest, through the API.

    `again`: for the same recording. `before`: happens to the new recording before its session is created.
    `change_at`: see `changed`. `said_sha256`: see `BlockSealer.finish`.
    """
    if again is None:
        phone = await phone_of(device.client, device.tenant, f"SEALED-{uuid.uuid4()}")
        recording_id, sealed = await phone.announce(), seal(plaintext, said_sha256=said_sha256)
    else:
        phone, recording_id = again.phone, again.recording_id
        sealed = seal(plaintext, recording_uuid=again.sealed.stored.header.recording_uuid)
    if before is not None:
        await before(recording_id)
    if change_at is not None:
        sealed = changed(sealed, change_at)
    session = await phone.create(recording_id, sealed)
    assert (await phone.put(session["staging"], sealed.content)).status_code == 200
    await phone.send(session, sealed.manifest(session))
    return Accepted(device.tenant.test_world, phone, session, sealed, plaintext)


def changed(sealed: SealedRecording, at: int) -> SealedRecording:
    """The object with another byte, as a device would send it that made it so: its facts are true."""
    content = bytearray(sealed.content)
    content[at] ^= 1
    stored = msgspec.structs.replace(
        sealed.stored,
        ciphertext_sha256=hashlib.sha256(content).digest(),
        trailer_sha256=hashlib.sha256(content[-144:]).digest(),
    )
    return replace(sealed, content=bytes(content), stored=stored)


async def row_of(ports: Ports, upload: Accepted) -> Json:
    """The session's row."""
    async with ports.database.acquire() as connection:
        row = await connection.fetchrow(READ, upload.world_id, upload.session_id)
    assert row is not None
    return dict(row)


async def receipt_of(ports: Ports, upload: Accepted) -> Receipt:
    """The session's receipt as its phone gets it, verified as the device does it."""
    shown = await upload.phone.read(upload.session)
    assert shown["state"] == "published"
    document = base64.b64decode(shown["completion_receipt_base64"])
    assert hashlib.sha256(document).hexdigest() == shown["completion_receipt_sha256"]
    async with ports.database.transaction() as connection:
        key = await SigningKeys(ports).active(connection, upload.session["project_id"])
    issued = upload_authorization.parse(base64.b64decode(upload.session["authorization_base64"]))
    return verify_receipt(
        document,
        key.private_key.public_key(),
        now=int(ports.clock.now().timestamp()),
        expected=Expectations(
            environment=2,
            session_uuid=uuid.UUID(upload.session_id),
            owner_revision=1,
            binding_generation=1,
            recording_uuid=upload.sealed.stored.header.recording_uuid,
            recording_generation=1,
            device=issued.device,
            tenant=issued.tenant,
            configuration=issued.configuration,
            ciphertext_sha256=hashlib.sha256(upload.sealed.content).digest(),
            plaintext_sha256=hashlib.sha256(upload.plaintext).digest(),
        ),
    )


@asynccontextmanager
async def publishing(ports: Ports, **other: Any) -> AsyncGenerator[Publisher]:
    """A publisher of its own, with other ports, such as another store."""
    publisher = app.open_services(replace(ports, **other))[Publisher]
    try:
        yield publisher
    finally:
        await publisher.aclose()


async def publish(ports: Ports, upload: Accepted, **other: Any) -> Json:
    """Run the job once. The session's row after that."""
    async with publishing(ports, **other) as publisher:
        await publisher.publish(upload.payload)
    return await row_of(ports, upload)


class Other:
    """The real store, or its streams, with some methods replaced."""

    def __init__(self, real: object, **replaced: Any) -> None:
        self._real = real
        self._replaced = replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced.get(name) or getattr(self._real, name)


def meanwhile(ports: Ports, happen: Callable[[], Awaitable[object]]) -> Any:
    """The real streams. After a plain object is written for the first time, something happens."""
    loop, happened = asyncio.get_running_loop(), list[bool]()

    @contextmanager
    def write(key: str, size: int, sha256: str) -> Generator[ObjectUpload]:
        with ports.streams.write(key, size, sha256) as upload:
            yield upload
        if not happened:
            happened.append(True)
            asyncio.run_coroutine_threadsafe(_awaited(happen), loop).result()

    return Other(ports.streams, write=write)


async def _awaited(happen: Callable[[], Awaitable[object]]) -> None:
    await happen()
