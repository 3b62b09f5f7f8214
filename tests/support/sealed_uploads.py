"""A device in software that encrypts a recording, and its phone, which makes the calls of the upload."""

from __future__ import annotations

import base64
import hashlib
import os
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from lapel.slices.encrypted_uploads.documents.capabilities import BATCH, CONTEXTS, RECOVERY, Capabilities
from lapel.slices.encrypted_uploads.documents.stored_object.frame import SealedObject
from tests.support.device_sealing import BlockSealer, encode_capabilities, seal_manifest, wrap
from tests.support.tenants import Tenant

Json = dict[str, Any]
PLAIN = b"OggS, said in confidence. " * 400


def base64_of(data: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(data).decode()


def capabilities_of(flags: int) -> bytes:
    """The 24 bytes of a device with these flags."""
    return encode_capabilities(
        Capabilities(
            highest_profile=2,
            flags=flags,
            maximum_signed_blob=1024,
            maximum_manifest=1024,
            maximum_data_payload=244,
            maximum_window_packets=16,
            checkpoint_interval_blocks=8,
            maximum_missing_sequences=16,
        )
    )


CAPABILITIES = capabilities_of(BATCH | CONTEXTS | RECOVERY)


@dataclass(frozen=True, slots=True)
class SealedRecording:
    """A recording as the device stores it: the whole object, its facts, and its data key."""

    content: bytes
    stored: SealedObject
    data_key: bytes = field(repr=False)

    @property
    def name(self) -> Json:
        """How the device names the recording."""
        header = self.stored.header
        return {
            "recording_uuid": str(header.recording_uuid),
            "recording_generation": header.recording_generation,
        }

    def manifest(self, session: Json) -> bytes:
        """The 580 bytes of the manifest under a session's authorization."""
        authorization = base64.b64decode(session["authorization_base64"])
        return seal_manifest(self.stored, self.data_key, authorization)


def seal(
    plain: bytes = PLAIN,
    *,
    recording_uuid: uuid.UUID | None = None,
    generation: int = 1,
    said_sha256: bytes | None = None,
) -> SealedRecording:
    """A recording that a device has just encrypted. `said_sha256`: see `BlockSealer.finish`."""
    data_key = os.urandom(32)
    header = wrap(os.urandom(32), data_key, recording_uuid or uuid.uuid4(), generation)
    sealer = BlockSealer(data_key, header)
    first = sealer.feed(plain)
    last, stored = sealer.finish(said_sha256)
    return SealedRecording(first + last, stored, data_key)


@dataclass(frozen=True, slots=True)
class Phone:
    """The calls of an upload: one tenant's key, over one HTTP client, for one bound device."""

    client: httpx.AsyncClient
    headers: dict[str, str]
    device_id: str
    end_user_id: str
    binding_generation: int

    async def call(self, method: str, path: str, expect: int, json: Json | None = None) -> Json:
        """The decoded answer of one call that is answered as expected."""
        answer = await self.client.request(method, path, json=json, headers=self.headers)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else {}

    def with_key(self, token: str) -> Phone:
        """The same with another key."""
        return replace(self, headers={"Authorization": f"Bearer {token}"})

    async def announce(self, **facts: Any) -> str:
        """A new recording of the device: its id."""
        body = {
            "device_id": self.device_id,
            "end_user_id": self.end_user_id,
            "upload_method": "ble",
            "streaming": False,
            "metadata": {"started_at": "2026-01-15T12:00:00Z", "ended_at": "2026-01-15T12:05:00Z"},
            **facts,
        }
        return (await self.call("POST", "/v1/recordings", 201, body))["id"]

    def creation(self, sealed: SealedRecording, **other: Any) -> Json:
        """The body that creates a session; `other` facts replace those of the device."""
        return creation(sealed, self.device_id, self.binding_generation) | other

    async def create(
        self, recording_id: str, sealed: SealedRecording, expect: int = 201, **other: Any
    ) -> Json:
        """Create a session."""
        return await self.call("POST", sessions(recording_id), expect, self.creation(sealed, **other))

    async def read(self, session: Json) -> Json:
        """The session as it is."""
        return await self.call("GET", path_of(session), 200)

    async def staging_url(self, session: Json, expect: int = 200, **other: Any) -> Json:
        """A fresh URL."""
        return await self.call("POST", f"{path_of(session)}/staging-url", expect, owned(session, **other))

    async def put(self, staging: Json, content: bytes) -> httpx.Response:
        """PUT the object with exactly the headers of the answer."""
        return await self.client.put(staging["url"], content=content, headers=staging["headers"])

    async def send(self, session: Json, document: bytes, expect: int = 202, **other: Any) -> Json:
        """Send a manifest."""
        body = manifest_body(session, document) | other
        return await self.call("POST", f"{path_of(session)}/manifest", expect, body)

    async def recover(self, session: Json, nonce: bytes, expect: int = 201, **other: Any) -> Json:
        """Recover a session."""
        body = recovery_body(session, nonce) | other
        return await self.call("POST", f"{path_of(session)}/recover", expect, body)

    async def cancel(self, session: Json, expect: int = 204, **other: Any) -> Json:
        """Cancel a session."""
        return await self.call("DELETE", path_of(session), expect, owned(session, **other))

    async def staged(self, sealed: SealedRecording) -> Json:
        """A new recording's session, with its object in the store."""
        session = await self.create(await self.announce(), sealed)
        assert (await self.put(session["staging"], sealed.content)).status_code == 200
        return session

    async def accepted(self, sealed: SealedRecording) -> tuple[Json, bytes]:
        """A session whose manifest was accepted, and the manifest."""
        session = await self.staged(sealed)
        document = sealed.manifest(session)
        await self.send(session, document)
        return session, document


def creation(sealed: SealedRecording, device_id: str, binding_generation: int = 1) -> Json:
    """The body that creates a session for an object of a device."""
    return {
        "device_id": device_id,
        "binding_generation": binding_generation,
        **sealed.name,
        "storage_format": "bota_enc_v2",
        "channel": "ble",
        "capabilities_base64": base64_of(CAPABILITIES),
        "auth_nonce_base64": base64_of(hashlib.sha256(sealed.data_key).digest()[:16]),
        "ciphertext_length": len(sealed.content),
        "ciphertext_sha256": hashlib.sha256(sealed.content).hexdigest(),
    }


def sessions(recording_id: str) -> str:
    """The path of a recording's sessions."""
    return f"/v1/recordings/{recording_id}/encrypted-upload-v2/sessions"


def path_of(session: Json) -> str:
    """The path of a session."""
    return f"{sessions(session['recording_id'])}/{session['session_id']}"


def manifest_body(session: Json, document: bytes) -> Json:
    """The body that sends a manifest."""
    return owned(
        session, manifest_base64=base64_of(document), manifest_sha256=hashlib.sha256(document).hexdigest()
    )


def recovery_body(session: Json, nonce: bytes) -> Json:
    """The body that recovers a session."""
    return owned(
        session,
        auth_nonce_base64=base64_of(nonce),
        capabilities_base64=base64_of(CAPABILITIES),
        reason="nonce_changed",
    )


def owned(session: Json, **other: Any) -> Json:
    """A body with the session's revision."""
    return {"owner_revision": session["owner_revision"], **other}


async def phone_of(
    client: httpx.AsyncClient, tenant: Tenant, serial_number: str = "SEALED01", *, end_user_id: str = ""
) -> Phone:
    """A new device, bound to an end user, and its phone. Without `end_user_id`, a new end user."""
    headers = tenant.headers

    async def post(path: str, body: Json) -> Json:
        answer = await client.post(path, json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    owner = end_user_id or (await post("/v1/end-users", {}))["id"]
    device = await post("/v1/devices", {"serial_number": serial_number, "model": "bota_pin"})
    bound = await post(f"/v1/devices/{device['id']}/bind", {"end_user_id": owner})
    return Phone(client, headers, device["id"], owner, bound["binding_generation"])
