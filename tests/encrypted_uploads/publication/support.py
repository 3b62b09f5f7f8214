"""Sessions whose manifest was accepted, with their staged objects, made without the routes."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import resources
from typing import Any

import msgspec

from lapel import app
from lapel.foundation.ports import Ports
from lapel.foundation.storage import object_names
from lapel.slices.encrypted_uploads.documents import (
    digests,
    hpke,
    manifest,
    receipt,
    signatures,
    upload_authorization,
)
from lapel.slices.encrypted_uploads.documents.expectations import Expectations
from lapel.slices.encrypted_uploads.documents.receipt import Receipt
from lapel.slices.encrypted_uploads.documents.stored_object.frame import SealedObject
from lapel.slices.encrypted_uploads.documents.stored_object.sealer import BlockSealer, wrap
from lapel.slices.encrypted_uploads.documents.upload_authorization import Authorization
from lapel.slices.encrypted_uploads.payloads import PublishSession
from lapel.slices.encrypted_uploads.publication.publisher import Publisher
from lapel.slices.encrypted_uploads.signing.signing_keys import SigningKeys
from tests.recordings.support import Device, Json

SAMPLE = (resources.files("lapel.sample") / "librivox.opus").read_bytes()
INSERT = """
INSERT INTO encrypted_upload_sessions
    (world_id, id, recording_id, device_id, end_user_id, owner_revision, state, channel, policy,
     policy_revision, binding_generation, recording_uuid, recording_generation, capabilities, auth_nonce,
     ciphertext_length, ciphertext_sha256, staging_key, upload_authorization, configuration,
     recipient_key_id, sealed_recipient_key, manifest, accepted_at, publish_at, clear_at, expires_at,
     created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, 1, 'ready', 'wifi', 'v2_preferred', 1, 1, $6, 7, $7, $8, $9, $10, $11, $12, $13,
        $14, $15, $16, $17, $17, $17, $17, $17, $17)
"""
READ = "SELECT * FROM encrypted_upload_sessions WHERE world_id = $1 AND id = $2"


class Staged(msgspec.Struct, frozen=True):
    """An accepted session: its names, the plain text that was sealed, and the facts of the staged object."""

    world_id: int
    session_id: str
    recording_id: str
    device_id: str
    plaintext: bytes
    sealed: bytes
    facts: SealedObject
    authorization: bytes
    staging_key: str

    @property
    def payload(self) -> PublishSession:
        """The job's."""
        return PublishSession(self.world_id, self.session_id)


def seal(plaintext: bytes, data_key: bytes, recording_uuid: uuid.UUID) -> tuple[bytes, SealedObject]:
    """The stored object of a plain text."""
    sealer = BlockSealer(data_key, wrap(os.urandom(32), data_key, recording_uuid, 7))
    begin = sealer.feed(plaintext)
    end, facts = sealer.finish()
    return begin + end, facts


def changed(stored: bytes, facts: SealedObject, at: int) -> tuple[bytes, SealedObject]:
    """The stored object with another byte, as a device would send it that made it so: its facts are true."""
    other = bytearray(stored)
    other[at] ^= 1
    return bytes(other), msgspec.structs.replace(
        facts,
        ciphertext_sha256=hashlib.sha256(other).digest(),
        trailer_sha256=hashlib.sha256(other[-144:]).digest(),
    )


async def staged(
    device: Device,
    ports: Ports,
    plaintext: bytes = SAMPLE,
    *,
    recording_id: str | None = None,
    change_at: int | None = None,
) -> Staged:
    """Seal a plain text, stage it, and accept its manifest. `change_at`: see `changed`."""
    made = await device.post("/v1/devices", 201, {"serial_number": f"SEALED-{uuid.uuid4()}", "model": "pin"})
    recording_id = recording_id or await device.recording(device_id=made["id"])
    recording = await device.read(recording_id)
    world_id, now, data_key = device.tenant.test_world, ports.clock.now(), os.urandom(32)
    session, recording_uuid, recipient = uuid.uuid4(), uuid.uuid4(), hpke.new_private_key()
    stored, facts = seal(plaintext, data_key, recording_uuid)
    if change_at is not None:
        stored, facts = changed(stored, facts, change_at)
    key = object_names.SealedName(device.tenant.project_id, recording_id, str(session)).key()
    issued_at = int(now.timestamp())
    authorization = upload_authorization.encode(
        Authorization(
            environment=2,
            policy=1,
            channel_mask=7,
            flags=7,
            owner_revision=1,
            binding_generation=1,
            recording_generation=7,
            signing_key_id=1,
            policy_revision=1,
            issued_at=issued_at,
            expires_at=issued_at + 3600,
            minimum_length=len(stored),
            maximum_length=len(stored),
            session_uuid=session,
            recipient_key_uuid=uuid.uuid4(),
            recording_uuid=recording_uuid,
            device_nonce=os.urandom(16),
            recipient_public_key=hpke.public_key(recipient),
            tenant=digests.tenant("org", device.tenant.project_id),
            device=digests.device_identity(made["serial_number"]),
            configuration=digests.configuration(b"{}"),
            staging=digests.staging_object(session, ports.settings.s3_bucket, key),
            ciphertext_sha256=facts.ciphertext_sha256,
        ),
        signatures.private_key(signatures.new_private_key()),
    )
    await ports.store.put(key, stored)
    async with ports.database.acquire() as connection:
        await connection.execute(
            INSERT,
            world_id,
            str(session),
            recording_id,
            made["id"],
            recording["end_user_id"],
            str(recording_uuid),
            bytes(24),
            bytes(16),
            len(stored),
            facts.ciphertext_sha256.hex(),
            key,
            authorization,
            b"{}",
            str(uuid.uuid4()),
            ports.sealer.seal(recipient, f"encrypted-upload:{world_id}:{session}".encode()),
            manifest.seal(facts, data_key, authorization, channel=2),
            now,
        )
    return Staged(
        world_id, str(session), recording_id, made["id"], plaintext, stored, facts, authorization, key
    )


async def row_of(ports: Ports, upload: Staged) -> Json:
    """The session's row."""
    async with ports.database.acquire() as connection:
        row = await connection.fetchrow(READ, upload.world_id, upload.session_id)
    assert row is not None
    return dict(row)


async def receipt_of(ports: Ports, device: Device, upload: Staged) -> Receipt:
    """The session's receipt, verified as the device does it, with the project's public key."""
    row = await row_of(ports, upload)
    async with ports.database.transaction() as connection:
        key = await SigningKeys(ports).active(connection, device.tenant.project_id)
    issued = upload_authorization.parse(upload.authorization)
    return receipt.verify(
        row["receipt"],
        key.private_key.public_key(),
        now=int(ports.clock.now().timestamp()),
        expected=Expectations(
            environment=2,
            session_uuid=uuid.UUID(upload.session_id),
            owner_revision=1,
            binding_generation=1,
            recording_uuid=issued.recording_uuid,
            recording_generation=7,
            device=issued.device,
            tenant=issued.tenant,
            configuration=issued.configuration,
            ciphertext_sha256=upload.facts.ciphertext_sha256,
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


async def publish(ports: Ports, upload: Staged, **other: Any) -> Json:
    """Run the job once. The session's row after that."""
    async with publishing(ports, **other) as publisher:
        await publisher.publish(upload.payload)
    return await row_of(ports, upload)


class OtherStore:
    """The real store, with some methods replaced."""

    def __init__(self, ports: Ports, **replaced: Any) -> None:
        self._store = ports.store
        self._replaced = replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced.get(name) or getattr(self._store, name)


def meanwhile(ports: Ports, happen: Callable[[], Awaitable[object]]) -> Any:
    """The real store. Before it first reads a plain object back, something happens."""
    happened: list[bool] = []

    async def sha256_of(key: str) -> tuple[int, str]:
        if not happened:
            happened.append(True)
            await happen()
        return await ports.store.sha256_of(key)

    return OtherStore(ports, sha256_of=sha256_of)


def copies_of(device: Device, upload: Staged) -> str:
    """The prefix of all plain objects of the recording."""
    return f"media/{device.tenant.project_id}/{upload.recording_id}/"
