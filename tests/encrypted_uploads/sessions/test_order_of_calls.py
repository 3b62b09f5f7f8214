"""An upload in the order in which clients make its calls, over real HTTP, with a device in software."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from dataclasses import replace
from datetime import datetime

from lapel.foundation.ports import Ports
from lapel.slices.encrypted_uploads.documents import digests, upload_authorization
from lapel.slices.encrypted_uploads.signing.signing_keys import SigningKeys
from tests.recordings.support import objects
from tests.support.device_verification import Expectations, verify_authorization
from tests.support.sealed_uploads import Phone, seal
from tests.support.tenants import Tenant

FIELDS = {
    "profile", "session_id", "owner_revision", "state", "channel", "policy", "recording_id", "device_id",
    "end_user_id", "project_id", "ciphertext_length", "ciphertext_sha256", "authorization_base64",
    "authorization_sha256", "expires_at",
}  # fmt: skip
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ORGANIZATION = "SELECT organization_id FROM projects WHERE id = $1"
CONFIGURATION = "SELECT * FROM encrypted_upload_sessions WHERE world_id = $1 AND id = $2"
JOBS = (
    "SELECT convert_from(payload, 'UTF8')::json->>'size' FROM jobs.pgqueuer"
    " WHERE entrypoint = $1 AND convert_from(payload, 'UTF8') LIKE $2"
)


async def test_the_calls_in_their_order(phone: Phone, ports: Ports) -> None:
    # A client sends the second one only if it is configured to.
    more = {"Accept": "application/json", "X-Organization-Id": "org_of-somebody"}
    phone = replace(phone, headers={**phone.headers, **more})
    sealed = seal()
    session = await phone.create(await phone.announce(), sealed)
    document = sealed.manifest(session)
    # A client tries the manifest before the PUT. Only this one answer lets it PUT.
    missing = await phone.send(session, document, 409)
    assert missing["error"]["code"] == "encrypted_upload_v2_staging_missing"
    first, second = await phone.staging_url(session), await phone.staging_url(session)
    assert set(first) == set(second) == set(session["staging"]) == {"method", "url", "headers"}
    assert len({each["url"] for each in (first, second, session["staging"])}) == 3, "a fresh URL each time"
    changed = {**first, "url": first["url"].replace("x-marker=", "x-marker=0")}
    assert (await phone.put(changed, sealed.content)).status_code == 403
    for staging in (first, second):
        assert (await phone.put(staging, sealed.content)).status_code == 200
    accepted = await phone.send(session, document, 202)
    assert accepted == {"session_id": session["session_id"], "owner_revision": 1, "state": "ready"}
    assert await phone.send(session, document, 202) == accepted
    shown = await phone.read(session)
    assert shown == {**{name: session[name] for name in FIELDS}, "state": "ready"}
    async with ports.database.acquire() as connection:
        jobs = await connection.fetch(JOBS, "encrypted-uploads.publish", f"%{session['session_id']}%")
    assert [each[0] for each in jobs] == [str(len(sealed.content))]


async def test_the_session_has_these_fields_and_no_others(phone: Phone, tenant: Tenant) -> None:
    sealed = seal()
    recording_id = await phone.announce()
    session = await phone.create(recording_id, sealed)
    assert set(session) == {*FIELDS, "staging"}
    assert set(await phone.read(session)) == FIELDS
    assert UUID4.fullmatch(session["session_id"])
    assert TIME.fullmatch(session["expires_at"])
    authorization = base64.b64decode(session["authorization_base64"])
    assert len(authorization) == 408
    assert {
        name: session[name] for name in FIELDS - {"session_id", "expires_at", "authorization_base64"}
    } == {
        "profile": "encrypted_upload_v2",
        "owner_revision": 1,
        "state": "staging",
        "channel": "ble",
        "policy": "legacy_allowed",
        "recording_id": recording_id,
        "device_id": phone.device_id,
        "end_user_id": phone.end_user_id,
        "project_id": tenant.project_id,
        "ciphertext_length": len(sealed.content),
        "ciphertext_sha256": hashlib.sha256(sealed.content).hexdigest(),
        "authorization_sha256": hashlib.sha256(authorization).hexdigest(),
    }


async def test_headers_of_the_put(phone: Phone) -> None:
    sealed = seal()
    session = await phone.create(await phone.announce(), sealed)
    digest = base64.b64encode(hashlib.sha256(sealed.content).digest()).decode()
    for staging in (session["staging"], await phone.staging_url(session)):
        assert (set(staging), staging["method"]) == ({"method", "url", "headers"}, "PUT")
        assert staging["headers"] == {
            "Content-Type": "application/octet-stream",
            "x-amz-checksum-sha256": digest,
        }
    # Length and hash are signed: the store takes nothing else.
    other = bytes(len(sealed.content))
    assert (await phone.put(session["staging"], other)).status_code >= 400
    assert (await phone.put(session["staging"], sealed.content[:-1])).status_code >= 400
    wrong = {**session["staging"], "headers": {**session["staging"]["headers"]}}
    wrong["headers"]["x-amz-checksum-sha256"] = base64.b64encode(hashlib.sha256(other).digest()).decode()
    assert (await phone.put(wrong, other)).status_code == 403
    answer = await phone.send(session, sealed.manifest(session), 409)
    assert answer["error"]["code"] == "encrypted_upload_v2_staging_missing"


async def test_each_field_of_the_authorization(phone: Phone, ports: Ports, tenant: Tenant) -> None:
    sealed = seal(generation=7)
    before = int(ports.clock.now().timestamp())
    recording_id = await phone.announce()
    session = await phone.create(recording_id, sealed)
    found = upload_authorization.parse(base64.b64decode(session["authorization_base64"]))
    async with ports.database.transaction() as connection:
        key = await SigningKeys(ports).active(connection, tenant.project_id)
        organization = await connection.fetchval(ORGANIZATION, tenant.project_id)
        row = await connection.fetchrow(CONFIGURATION, tenant.test_world, session["session_id"])
    assert row is not None
    session_uuid = uuid.UUID(session["session_id"])
    name = f"sealed/{tenant.project_id}/{recording_id}/{session['session_id']}"
    verify_authorization(
        base64.b64decode(session["authorization_base64"]),
        key.private_key.public_key(),
        now=before,
        expected=Expectations(
            environment=2,
            session_uuid=session_uuid,
            binding_generation=1,
            recording_uuid=sealed.stored.header.recording_uuid,
            recording_generation=7,
            device=digests.device_identity("SEALED01"),
            ciphertext_sha256=hashlib.sha256(sealed.content).digest(),
            tenant=digests.tenant(organization, tenant.project_id),
            configuration=digests.configuration(row["configuration"]),
            staging=digests.staging_object(session_uuid, ports.settings.s3_bucket, name),
            owner_revision=1,
            ciphertext_length=len(sealed.content),
            device_nonce=base64.b64decode(phone.creation(sealed)["auth_nonce_base64"]),
        ),
    )
    assert (found.channel_mask, found.flags, found.policy) == (7, 7, 0)
    assert (found.signing_key_id, found.policy_revision) == (key.key_id, row["policy_revision"])
    assert found.expires_at - found.issued_at == 3600
    assert before <= found.issued_at <= int(ports.clock.now().timestamp())
    assert datetime.fromisoformat(session["expires_at"]).timestamp() == found.expires_at
    assert str(found.recipient_key_uuid) == row["recipient_key_id"]


async def test_each_session_has_its_own_keys(phone: Phone) -> None:
    one, other = [await phone.create(await phone.announce(), seal()) for _ in range(2)]
    fields = [
        upload_authorization.parse(base64.b64decode(each["authorization_base64"])) for each in (one, other)
    ]
    assert fields[0].recipient_public_key != fields[1].recipient_public_key
    assert fields[0].recipient_key_uuid != fields[1].recipient_key_uuid
    assert fields[0].policy_revision == fields[1].policy_revision


async def test_the_object_lies_below_its_own_prefix(phone: Phone, ports: Ports, tenant: Tenant) -> None:
    session = await phone.staged(seal())
    prefix = f"sealed/{tenant.project_id}/{session['recording_id']}/"
    assert await objects(ports, prefix) == [f"{prefix}{session['session_id']}"]
