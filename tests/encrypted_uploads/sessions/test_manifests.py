"""Which manifests are refused, with which code and reason, in which order."""

from __future__ import annotations

import base64
import hashlib
import os
import uuid
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from lapel import app
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.identity.seal import sealer
from lapel.foundation.ports import Ports
from lapel.slices.encrypted_uploads.documents import manifest, upload_authorization
from lapel.slices.encrypted_uploads.documents.manifest import UploadManifest
from lapel.slices.encrypted_uploads.sessions.service import UploadSessions
from lapel.slices.encrypted_uploads.wire import CreateEncryptedUploadSession, SendManifest
from tests.encrypted_uploads.sessions.support import row_of
from tests.recordings.support import actor_of
from tests.support.device_sealing import seal_manifest
from tests.support.sealed_uploads import Json, Phone, base64_of, manifest_body, seal
from tests.support.tenants import Tenant

SEALED = seal()


def reason_of(refused: Json, code: str) -> str:
    """The one reason of an answer with this code."""
    error = refused["error"]
    assert error["code"] == code
    (detail,) = error["details"]
    assert detail["field"] == error["param"]
    return detail["reason"]


@pytest.fixture
async def session(phone: Phone) -> Json:
    """A session whose object is staged."""
    return await phone.staged(SEALED)


def changed(document: bytes, **fields: Any) -> bytes:
    """The manifest with other fields, whose tag is wrong now."""
    return manifest.LAYOUT.pack(msgspec.structs.replace(manifest.parse(document), **fields))


async def test_malformed_bytes_are_400(phone: Phone, session: Json) -> None:
    good = SEALED.manifest(session)
    cases = {
        "invalid_length": [good[:-1], good + b"\0", b"", good[:10] + b"\x45" + good[11:]],
        "invalid_magic": [b"BOTAMNF1" + good[8:], bytes(580)],
        "unsupported_version": [good[:8] + b"\x03" + good[9:]],
        "noncanonical_encoding": [good[:12] + b"\x02" + good[13:], good[:48] + b"\x07" + good[49:]],
    }
    for reason, documents in cases.items():
        for document in documents:
            assert reason_of(await phone.send(session, document, 400), "invalid_request") == reason
    assert (await phone.read(session))["state"] == "staging"
    await phone.send(session, good, 202)


@pytest.mark.parametrize("form", ["url", "unpadded", "broken", "line"])
async def test_other_base64_is_400(phone: Phone, session: Json, form: str) -> None:
    good = base64_of(SEALED.manifest(session))
    text = {
        "url": "_" + good[1:],
        "unpadded": good.rstrip("="),
        "broken": good[:-3] + chr(ord(good[-3]) + 1) + "==",
        "line": good[:76] + "\n" + good[76:],
    }[form]
    refused = await phone.send(session, b"", 400, manifest_base64=text)
    assert reason_of(refused, "invalid_request") == "noncanonical_encoding"


async def test_another_hash_is_400(phone: Phone, session: Json) -> None:
    good = SEALED.manifest(session)
    refused = await phone.send(session, good, 400, manifest_sha256="ab" * 32)
    assert refused["error"]["param"] == "manifest_sha256"
    upper = hashlib.sha256(good).hexdigest().upper()
    await phone.send(session, good, 400, manifest_sha256=upper)


OF_SESSION: list[tuple[str, dict[str, Any]]] = [
    ("session_mismatch", {"session_uuid": uuid.uuid4()}),
    ("session_mismatch", {"owner_revision": 2}),
    ("binding_generation_mismatch", {"binding_generation": 2}),
    ("recording_identity_mismatch", {"recording_uuid": uuid.uuid4()}),
    ("recording_identity_mismatch", {"recording_generation": 2}),
    *(
        ("identity_mismatch", {name: bytes(32)})
        for name in (
            "tenant",
            "device",
            "configuration",
            "staging",
            "authorization_sha256",
            "ciphertext_sha256",
        )
    ),
    ("identity_mismatch", {"recipient_key_uuid": uuid.uuid4()}),
    ("identity_mismatch", {"policy": 2}),
    ("identity_mismatch", {"ciphertext_length": 293, "plaintext_length": 1, "block_count": 1}),
]


async def test_what_is_not_the_sessions_is_409(phone: Phone, session: Json) -> None:
    good = SEALED.manifest(session)
    for reason, fields in OF_SESSION:
        refused = await phone.send(session, changed(good, **fields), 409)
        assert reason_of(refused, "integrity_failure") == reason, fields
    other = await phone.create(await phone.announce(), seal())
    # Of another session: its fields are compared before anything is looked for in the store.
    refused = await phone.send(other, good, 409)
    assert reason_of(refused, "integrity_failure") == "session_mismatch"
    assert (await phone.read(session))["state"] == "staging"
    await phone.send(session, good, 202)


async def test_an_envelope_or_a_tag_that_is_wrong_is_409(phone: Phone, session: Json) -> None:
    good = SEALED.manifest(session)
    cases = {
        "hpke_open_failed": [
            changed(good, sealed_key=os.urandom(112)),
            changed(good, encapsulated_key=os.urandom(32)),
            changed(good, encapsulated_key=bytes(32)),
            changed(good, header_sha256=bytes(32)),  # the envelope is for another object
        ],
        "authentication_failed": [good[:-1] + bytes([good[-1] ^ 1]), changed(good, channel=2)],
    }
    for reason, documents in cases.items():
        for document in documents:
            assert reason_of(await phone.send(session, document, 409), "integrity_failure") == reason
    assert (await phone.read(session))["state"] == "staging"


async def test_nothing_staged_is_said_before_the_envelope_is_opened(phone: Phone) -> None:
    session = await phone.create(await phone.announce(), SEALED)
    broken = changed(SEALED.manifest(session), sealed_key=os.urandom(112))
    refused = await phone.send(session, broken, 409)
    assert refused["error"]["code"] == "encrypted_upload_v2_staging_missing"


async def test_an_object_of_another_length_is_409(phone: Phone, session: Json, ports: Ports) -> None:
    row = await row_of(ports, session)
    await ports.store.put(row["staging_key"], SEALED.content + b"\0")
    refused = await phone.send(session, SEALED.manifest(session), 409)
    assert reason_of(refused, "integrity_failure") == "invalid_length"


async def test_any_channel_of_the_mask_may_carry_the_object(phone: Phone, session: Json) -> None:
    authorization = base64.b64decode(session["authorization_base64"])
    assert upload_authorization.parse(authorization).channel_mask == 7
    document = seal_manifest(SEALED.stored, SEALED.data_key, authorization, channel=3)
    await phone.send(session, document, 202)


async def test_another_manifest_than_the_accepted_one_is_a_conflict(
    phone: Phone, session: Json, ports: Ports
) -> None:
    one, other = SEALED.manifest(session), SEALED.manifest(session)
    assert one != other
    assert isinstance(manifest.parse(one), UploadManifest)
    await phone.send(session, one)
    assert (await phone.send(session, other, 409))["error"]["code"] == "conflict"
    assert (await phone.send(session, changed(one, tag=bytes(32)), 409))["error"]["code"] == "conflict"
    assert reason_of(await phone.send(session, one[:-1], 400), "invalid_request") == "invalid_length"
    row = await row_of(ports, session)
    assert (row["manifest"], row["state"]) == (one, "ready")
    assert row["accepted_at"] == row["publish_at"]


async def test_a_key_that_was_sealed_under_another_secret(
    phone: Phone, session: Json, ports: Ports, tenant: Tenant
) -> None:
    other = app.open_services(replace(ports, sealer=sealer("another secret of sufficient length", None)))
    document = SEALED.manifest(session)
    body = msgspec.convert(manifest_body(session, document), SendManifest)
    ids = (session["recording_id"], session["session_id"])
    with pytest.raises(Unavailable):
        await other[UploadSessions].accept(actor_of(tenant), *ids, body)
    # A recovered session has a key under the present secret.
    assert (await phone.recover(session, bytes(16)))["state"] == "staging"


@pytest.mark.parametrize("environment", [0, 1])
async def test_the_environment_is_a_setting(
    phone: Phone, ports: Ports, tenant: Tenant, environment: int
) -> None:
    settings = replace(ports.settings, encrypted_upload_environment=environment)
    sessions = app.open_services(replace(ports, settings=settings))[UploadSessions]
    recording_id = await phone.announce()
    body = msgspec.convert(phone.creation(seal()), CreateEncryptedUploadSession)
    async with ports.database.transaction() as connection:
        made, _ = await sessions.create(connection, actor_of(tenant), recording_id, body)
    authorization = upload_authorization.parse(base64.b64decode(made.authorization_base64))
    assert authorization.environment == environment
