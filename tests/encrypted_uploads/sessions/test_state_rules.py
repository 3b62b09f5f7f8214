"""What each request does in each state of a session."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import msgspec
import pytest

from lapel.foundation.core.errors import Conflict
from lapel.foundation.ports import Ports
from lapel.slices.encrypted_uploads.documents import upload_authorization
from lapel.slices.encrypted_uploads.documents.capabilities import BATCH, CONTEXTS, RECOVERY
from lapel.slices.encrypted_uploads.payloads import PublishSession
from lapel.slices.encrypted_uploads.publication.publisher import Publisher
from lapel.slices.encrypted_uploads.sessions import issuance
from lapel.slices.encrypted_uploads.sessions.service import UploadSessions
from lapel.slices.encrypted_uploads.wire import (
    CreateEncryptedUploadSession,
    OwnedRevision,
    RecoverSession,
    SendManifest,
)
from tests.encrypted_uploads.publication.support import SAMPLE, publishing
from tests.encrypted_uploads.sessions.support import later, row_of, set_recording, set_session
from tests.encrypted_uploads.sessions.test_order_of_calls import FIELDS, TIME, UUID4
from tests.recordings.support import actor_of
from tests.support.sealed_uploads import (
    Json,
    Phone,
    base64_of,
    capabilities_of,
    manifest_body,
    recovery_body,
    seal,
)
from tests.support.tenants import Tenant

SEALED = seal()
AGO = "now() - interval '1 second'"
Call = Callable[[Phone, Json], Awaitable[Json]]


async def ask_url(phone: Phone, session: Json) -> Json:
    """Ask where to stage the object. Refused."""
    return await phone.staging_url(session, 409)


async def send_manifest(phone: Phone, session: Json) -> Json:
    """Send the manifest of the object that the phone stages. Refused."""
    return await phone.send(session, SEALED.manifest(session), 409)


async def recover(phone: Phone, session: Json) -> Json:
    """Recover with a fresh nonce. Refused."""
    return await phone.recover(session, os.urandom(16), 409)


async def cancel(phone: Phone, session: Json) -> Json:
    """Cancel the session. Refused."""
    return await phone.cancel(session, 409)


def sending(document: bytes) -> Call:
    """A call that sends this manifest. Refused."""

    async def send(phone: Phone, session: Json) -> Json:
        return await phone.send(session, document, 409)

    return send


async def conflict(phone: Phone, session: Json, *calls: Call) -> None:
    """Each of these calls is 409 `conflict`, and changes nothing."""
    before = await phone.read(session)
    for call in calls:
        refused = await call(phone, session)
        assert refused["error"]["code"] == "conflict"
    assert await phone.read(session) == before


async def published(phone: Phone, ports: Ports, tenant: Tenant) -> tuple[Json, bytes, bytes]:
    """A published session, its manifest, and its object."""
    sealed = seal(SAMPLE)
    session, document = await phone.accepted(sealed)
    async with publishing(ports) as publisher:
        assert isinstance(publisher, Publisher)
        await publisher.publish(PublishSession(tenant.test_world, session["session_id"]))
    return session, document, sealed.content


async def test_published(phone: Phone, ports: Ports, tenant: Tenant) -> None:
    session, document, _ = await published(phone, ports, tenant)
    shown = await phone.read(session)
    more = {"published_at", "plaintext_length", "completion_receipt_base64", "completion_receipt_sha256"}
    assert set(shown) == FIELDS | more
    assert {name: shown[name] for name in FIELDS - {"state"}} == {
        name: session[name] for name in FIELDS - {"state"}
    }
    receipt = base64.b64decode(shown["completion_receipt_base64"])
    assert (shown["state"], len(receipt), shown["plaintext_length"]) == ("published", 336, len(SAMPLE))
    assert shown["completion_receipt_sha256"] == hashlib.sha256(receipt).hexdigest()
    assert TIME.fullmatch(shown["published_at"])
    # The exact replay, also long after the session's time.
    await set_session(ports, session, expires_at=AGO)
    for _ in range(2):
        assert await phone.send(session, document, 200) == {
            "session_id": session["session_id"],
            "owner_revision": 1,
            "state": "published",
        }
    assert set(await phone.read(session)) == FIELDS | more
    await conflict(phone, session, ask_url, send_manifest, recover, cancel)
    recording = await phone.call("GET", f"/v1/recordings/{session['recording_id']}", 200)
    assert (recording["status"], recording["encryption_version"]) == ("uploaded", 2)


@pytest.mark.parametrize("state", ["ready", "processing"])
async def test_an_accepted_manifest_is_final(phone: Phone, ports: Ports, state: str) -> None:
    session, document = await phone.accepted(SEALED)
    await set_session(ports, session, state=state, expires_at=AGO)
    assert (await phone.read(session))["state"] == state
    assert (await phone.send(session, document, 202))["state"] == state
    await conflict(phone, session, ask_url, send_manifest, recover, cancel)


async def test_failed(phone: Phone, ports: Ports) -> None:
    session, document = await phone.accepted(SEALED)
    await set_session(
        ports, session, state="failed", failure_code="digest_mismatch", failure_message="The hash is another."
    )
    shown = await phone.read(session)
    assert set(shown) == {*FIELDS, "error"}
    assert shown["error"] == {"code": "digest_mismatch", "message": "The hash is another."}
    await conflict(phone, session, ask_url, send_manifest, sending(document), recover, cancel)


async def test_cancelled(phone: Phone, ports: Ports) -> None:
    session = await phone.staged(SEALED)
    assert await phone.cancel(session) == {}
    assert await phone.cancel(session) == {}
    assert (await phone.read(session))["state"] == "cancelled"
    assert (await row_of(ports, session))["sealed_recipient_key"] is None
    await conflict(phone, session, ask_url, send_manifest, recover)


async def test_expired(phone: Phone, ports: Ports) -> None:
    session = await phone.staged(SEALED)
    await set_session(ports, session, expires_at=AGO)
    shown = await phone.read(session)
    assert (shown["state"], set(shown)) == ("expired", FIELDS)
    repeated = await phone.create(session["recording_id"], SEALED, 200)
    assert (repeated["session_id"], repeated["state"]) == (session["session_id"], "expired")
    assert "staging" not in repeated
    await conflict(phone, session, ask_url, send_manifest)
    successor = await phone.recover(session, bytes(16))
    assert successor["state"] == "staging"
    assert (await phone.read(session))["state"] == "cancelled"


async def test_an_expired_session_can_be_cancelled(phone: Phone, ports: Ports) -> None:
    session = await phone.create(await phone.announce(), SEALED)
    await set_session(ports, session, expires_at=AGO)
    await phone.cancel(session)
    assert (await phone.read(session))["state"] == "cancelled"


async def test_the_session_ends_by_the_servers_clock(phone: Phone, ports: Ports, tenant: Tenant) -> None:
    session = await phone.create(await phone.announce(), SEALED)
    actor, ids = actor_of(tenant), (session["recording_id"], session["session_id"])
    almost = later(ports, timedelta(minutes=59, seconds=58), UploadSessions)
    link = await almost.staging_url(actor, *ids, OwnedRevision(owner_revision=1))
    expires = re.search(r"X-Amz-Expires=(\d+)", link.url)
    assert expires is not None
    assert int(expires[1]) <= 2, "no URL outlives the session"
    over = later(ports, timedelta(hours=1), UploadSessions)
    assert (await over.read(actor, *ids)).state == "expired"
    with pytest.raises(Conflict):
        await over.staging_url(actor, *ids, OwnedRevision(owner_revision=1))
    # A server whose clock is behind still sees it as it was.
    assert (await later(ports, timedelta(hours=-1), UploadSessions).read(actor, *ids)).state == "staging"


async def test_after_its_hour_a_session_is_recovered_and_an_accepted_one_goes_on(
    phone: Phone, ports: Ports, tenant: Tenant
) -> None:
    session = await phone.staged(SEALED)
    actor, ids = actor_of(tenant), (session["recording_id"], session["session_id"])
    over = later(ports, timedelta(hours=1), UploadSessions)
    with pytest.raises(Conflict, match="expired"):
        await over.accept(actor, *ids, manifest_of(session))
    async with ports.database.transaction() as connection:
        body = msgspec.convert(phone.creation(SEALED), CreateEncryptedUploadSession)
        again, is_new = await over.create(connection, actor, ids[0], body)
    assert (again.session_id, again.state, is_new) == (ids[1], "expired", False)
    recovery = msgspec.convert(recovery_body(session, bytes(16)), RecoverSession)
    successor, _ = await over.recover(actor, *ids, recovery)
    assert (successor.state, successor.owner_revision) == ("staging", 2)
    ends = [datetime.fromisoformat(each) for each in (session["expires_at"], successor.expires_at)]
    assert timedelta(hours=1) <= ends[1] - ends[0] < timedelta(hours=1, minutes=1)

    new, ids = msgspec.to_builtins(successor), (ids[0], successor.session_id)
    await ports.store.put((await row_of(ports, new))["staging_key"], SEALED.content)
    accepting = manifest_of(new)
    almost = later(ports, timedelta(hours=1, minutes=59, seconds=58), UploadSessions)
    assert (await almost.accept(actor, *ids, accepting)).status == 202
    much_later = later(ports, timedelta(days=400), UploadSessions)
    assert (await much_later.accept(actor, *ids, accepting)).status == 202
    assert (await much_later.read(actor, *ids)).state == "ready"
    with pytest.raises(Conflict):
        await much_later.recover(actor, *ids, msgspec.convert(recovery_body(new, bytes(16)), RecoverSession))
    with pytest.raises(Conflict):
        await much_later.cancel(actor, *ids, OwnedRevision(owner_revision=2))


def manifest_of(session: Json) -> SendManifest:
    """The body that sends the manifest of the object that the phone stages."""
    return msgspec.convert(manifest_body(session, SEALED.manifest(session)), SendManifest)


@pytest.mark.parametrize("revision", [2, 2**31 - 1])
async def test_another_revision_is_a_conflict_everywhere(phone: Phone, revision: int) -> None:
    session = await phone.staged(SEALED)
    await conflict(phone, {**session, "owner_revision": revision}, ask_url, send_manifest, recover, cancel)
    successor = await phone.recover(session, bytes(16))
    stale = {**successor, "owner_revision": 1}
    await conflict(phone, stale, ask_url, send_manifest, recover, cancel)
    await phone.put(successor["staging"], SEALED.content)
    document = SEALED.manifest(successor)
    await phone.send(successor, document)
    await conflict(phone, stale, ask_url, sending(document), recover, cancel)


@pytest.mark.parametrize(
    "body", [{}, {"owner_revision": 0}, {"owner_revision": "1"}, {"owner_revision": None}]
)
async def test_a_revision_is_needed(phone: Phone, body: Json) -> None:
    session = await phone.create(await phone.announce(), SEALED)
    path = f"/v1/recordings/{session['recording_id']}/encrypted-upload-v2/sessions/{session['session_id']}"
    for method, at in (("POST", f"{path}/staging-url"), ("DELETE", path)):
        refused = await phone.call(method, at, 400, body)
        assert refused["error"]["param"] == "owner_revision"


async def rebind(phone: Phone) -> None:
    """Bind the device again, to the same end user."""
    await phone.call("POST", f"/v1/devices/{phone.device_id}/unbind", 200)
    await phone.call("POST", f"/v1/devices/{phone.device_id}/bind", 200, {"end_user_id": phone.end_user_id})


@pytest.mark.parametrize("bound_again", [True, False])
async def test_after_a_change_of_the_binding_a_session_can_only_be_read(
    phone: Phone, bound_again: bool
) -> None:
    staging = await phone.staged(SEALED)
    accepted_one, document = await phone.accepted(seal())
    cancelled = await phone.create(await phone.announce(), seal())
    recovered = await phone.recover(cancelled, bytes(16))
    if bound_again:
        await rebind(phone)
    else:
        await phone.call("POST", f"/v1/devices/{phone.device_id}/unbind", 200)
    calls = (ask_url, send_manifest, recover, cancel)
    for session in (staging, accepted_one, recovered):
        await conflict(phone, session, *calls)
    await phone.send(accepted_one, document, 409)
    await phone.recover(cancelled, bytes(16), 409)
    await phone.cancel(cancelled, 409)
    await phone.create(staging["recording_id"], SEALED, 409)


async def test_after_a_change_of_the_binding_another_session_takes_the_place_of_one_that_leads_nowhere(
    phone: Phone,
) -> None:
    staging = await phone.staged(SEALED)
    accepted_one, _ = await phone.accepted(seal())
    await rebind(phone)
    made = await phone.create(staging["recording_id"], SEALED, binding_generation=2)
    assert (made["state"], made["owner_revision"]) == ("staging", 1)
    assert (await phone.read(staging))["state"] == "cancelled"
    # The server finishes what it has accepted.
    await phone.create(accepted_one["recording_id"], seal(), 409, binding_generation=2)


async def test_recover(phone: Phone, ports: Ports) -> None:
    session = await phone.staged(SEALED)
    nonce = os.urandom(16)
    successor = await phone.recover(session, nonce)
    assert set(successor) == {*FIELDS, "staging"}
    assert UUID4.fullmatch(successor["session_id"])
    assert successor["session_id"] != session["session_id"]
    assert (successor["owner_revision"], successor["state"]) == (2, "staging")
    before, after = [
        upload_authorization.parse(base64.b64decode(each["authorization_base64"]))
        for each in (session, successor)
    ]
    assert (before.flags, after.flags) == (7, 15)
    assert (after.owner_revision, after.device_nonce) == (2, nonce)
    assert after.recipient_public_key != before.recipient_public_key
    assert after.recipient_key_uuid != before.recipient_key_uuid
    assert after.staging != before.staging
    shown = await phone.read(session)
    assert (shown["state"], set(shown)) == ("cancelled", FIELDS)
    assert (await row_of(ports, session))["sealed_recipient_key"] is None
    # The object must be PUT again; then the whole upload can be finished.
    document = SEALED.manifest(successor)
    assert (await phone.send(successor, document, 409))["error"]["code"].endswith("staging_missing")
    await phone.put(successor["staging"], SEALED.content)
    await phone.send(successor, document)


async def test_the_sessions_of_a_recording_within_an_hour_are_limited(
    phone: Phone, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuance, "MOST_VALID", 2)
    session = await phone.create(await phone.announce(), SEALED)
    successor = await phone.recover(session, bytes(16))
    refused = await phone.recover(successor, bytes(16), 429)
    assert "2 upload sessions" in refused["error"]["message"]
    assert (await phone.recover(session, bytes(16), 200))["session_id"] == successor["session_id"]
    assert (await phone.read(successor))["state"] == "staging"
    await phone.cancel(successor)
    await phone.create(session["recording_id"], SEALED, 429)
    await set_session(ports, session, created_at="now() - interval '1 hour'")
    await phone.create(session["recording_id"], SEALED)


async def test_recover_is_the_same_for_ever(phone: Phone, ports: Ports) -> None:
    session = await phone.create(await phone.announce(), SEALED)
    nonce = os.urandom(16)
    first = await phone.recover(session, nonce)
    again = await phone.recover(session, nonce, 200)
    assert {**again, "staging": None} == {**first, "staging": None}
    # `reason` is left out if the session has expired meanwhile.
    assert (await phone.recover(session, nonce, 200, reason=None))["session_id"] == first["session_id"]
    await phone.recover(session, os.urandom(16), 409)
    await phone.recover(session, nonce, 409, capabilities_base64=base64_of(capabilities_of(0x3FF)))
    second = await phone.recover(first, nonce)
    third = await phone.recover(second, os.urandom(16))
    assert [each["owner_revision"] for each in (session, first, second, third)] == [1, 2, 3, 4]
    old = await phone.recover(session, nonce, 200)
    assert (old["session_id"], old["state"]) == (first["session_id"], "cancelled")
    assert "staging" not in old
    await phone.put(third["staging"], SEALED.content)
    await phone.send(third, SEALED.manifest(third))
    assert (await phone.recover(first, nonce, 200))["state"] == "cancelled"
    await set_session(ports, second, expires_at=AGO)
    assert (await phone.recover(first, nonce, 200))["session_id"] == second["session_id"]


@pytest.mark.parametrize("flags", [BATCH, BATCH | RECOVERY, BATCH | CONTEXTS])
async def test_a_device_that_cannot_recover_is_400(phone: Phone, flags: int) -> None:
    session = await phone.create(await phone.announce(), SEALED)
    text = base64_of(capabilities_of(flags))
    refused = await phone.recover(session, bytes(16), 400, capabilities_base64=text)
    assert refused["error"]["param"] == "capabilities_base64"
    assert (await phone.read(session))["state"] == "staging"
    await phone.recover(session, bytes(16), 400, reason="because")
    await phone.recover(session, bytes(15), 400)


async def test_a_recording_that_was_uploaded_otherwise_takes_nothing_more(phone: Phone, ports: Ports) -> None:
    session = await phone.staged(SEALED)
    await set_recording(ports, session["recording_id"], status="uploaded")
    await conflict(phone, session, send_manifest, recover)
    await phone.cancel(session)


async def test_what_a_deleted_recording_leaves(phone: Phone) -> None:
    session = await phone.staged(SEALED)
    await phone.call("DELETE", f"/v1/recordings/{session['recording_id']}", 204)
    await phone.staging_url(session, 404)
    await phone.send(session, SEALED.manifest(session), 404)
    await phone.recover(session, bytes(16), 404)
    await phone.cancel(session, 404)
    await phone.create(session["recording_id"], SEALED, 404)
