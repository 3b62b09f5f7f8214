"""Which sessions can be created, and what a repeat gets."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from lapel.foundation.ports import Ports
from lapel.slices.encrypted_uploads.documents import upload_authorization
from lapel.slices.encrypted_uploads.documents.capabilities import BATCH, CONTEXTS
from tests.encrypted_uploads.sessions.support import set_recording, set_session
from tests.support.device_sealing import extent_of_plaintext
from tests.support.sealed_uploads import (
    CAPABILITIES,
    Json,
    Phone,
    base64_of,
    capabilities_of,
    path_of,
    phone_of,
    seal,
    sessions,
)
from tests.support.tenants import Tenant, bearer, make_key

SEALED = seal()
NONE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def other(phone: Phone, tenant: Tenant) -> Phone:
    """Another device of the tenant, with an end user of its own."""
    return await phone_of(phone.client, tenant, "OTHER001")


def without_staging(session: Json) -> Json:
    return {name: value for name, value in session.items() if name != "staging"}


async def test_the_same_body_answers_the_same_session(phone: Phone) -> None:
    recording_id = await phone.announce()
    first = await phone.create(recording_id, SEALED)
    again = await phone.create(recording_id, SEALED, 200)
    assert without_staging(again) == without_staging(first)
    assert (await phone.put(again["staging"], SEALED.content)).status_code == 200
    await phone.send(again, SEALED.manifest(first))
    accepted = await phone.create(recording_id, SEALED, 200)
    assert (accepted["session_id"], accepted["state"]) == (first["session_id"], "ready")
    assert "staging" not in accepted
    # `end_user_id` is optional, and is no other fact.
    named = await phone.create(recording_id, SEALED, 200, end_user_id=phone.end_user_id)
    assert named == accepted


async def test_a_repeat_with_the_key_of_the_first_request(phone: Phone) -> None:
    path, body = sessions(await phone.announce()), phone.creation(SEALED)
    headers = {**phone.headers, "Idempotency-Key": "once"}
    first, again = [await phone.client.post(path, json=body, headers=headers) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert without_staging(again.json()) == without_staging(first.json())
    await phone.cancel(first.json())
    cancelled = (await phone.client.post(path, json=body, headers=headers)).json()
    assert (cancelled["session_id"], cancelled["state"]) == (first.json()["session_id"], "cancelled")
    assert "staging" not in cancelled


async def test_after_a_cancelled_or_failed_session_the_same_body_makes_a_new_one(
    phone: Phone, ports: Ports
) -> None:
    recording_id = await phone.announce()
    first = await phone.create(recording_id, SEALED)
    await phone.cancel(first)
    second = await phone.create(recording_id, SEALED)
    await phone.put(second["staging"], SEALED.content)
    await phone.send(second, SEALED.manifest(second))
    await set_session(ports, second, state="failed", failure_code="digest_mismatch")
    await set_recording(ports, recording_id, status="integrity_failure")
    third = await phone.create(recording_id, SEALED)
    assert len({each["session_id"] for each in (first, second, third)}) == 3
    assert third["owner_revision"] == 1


@pytest.mark.parametrize(
    "facts",
    [
        {"auth_nonce_base64": base64_of(bytes(16))},
        {"channel": "wifi"},
        {"capabilities_base64": base64_of(capabilities_of(BATCH))},
        {"ciphertext_sha256": "ab" * 32},
        {"ciphertext_length": 293},
    ],
)
async def test_a_recording_has_one_open_session(phone: Phone, ports: Ports, facts: Json) -> None:
    recording_id = await phone.announce()
    session = await phone.create(recording_id, SEALED)
    refused = await phone.create(recording_id, SEALED, 409, **facts)
    assert refused["error"]["code"] == "conflict"
    assert (await phone.read(session))["state"] == "staging"
    # An expired one is not open.
    await set_session(ports, session, expires_at="now() - interval '1 second'")
    new = await phone.create(recording_id, SEALED, 201, **facts)
    assert new["session_id"] != session["session_id"]
    assert (await phone.read(session))["state"] == "cancelled"


async def test_the_authorization_has_the_policy_and_every_change_has_a_higher_revision(phone: Phone) -> None:
    seen: list[tuple[str, int, int]] = []
    for policy in ("legacy_allowed", "v2_preferred", "v2_required", "legacy_allowed"):
        change = {"encrypted_upload_policy": policy}
        await phone.call("PATCH", "/v1/config/upload_security", 200, change)
        session = await phone.create(await phone.announce(), seal())
        issued = upload_authorization.parse(base64.b64decode(session["authorization_base64"]))
        seen.append((session["policy"], issued.policy, issued.policy_revision))
    assert seen == [
        ("legacy_allowed", 0, 1), ("v2_preferred", 1, 2), ("v2_required", 2, 3), ("legacy_allowed", 0, 4),
    ]  # fmt: skip


@pytest.mark.parametrize("channel", ["ble", "wifi", "cellular"])
async def test_channel_and_policy_are_those_of_the_creation(phone: Phone, channel: str) -> None:
    session = await phone.create(await phone.announce(), SEALED, channel=channel)
    change = {"encrypted_upload_policy": "v2_preferred"}
    await phone.call("PATCH", "/v1/config/upload_security", 200, change)
    assert await phone.read(session) == without_staging(session)
    assert (session["channel"], session["policy"]) == (channel, "legacy_allowed")
    recovered = await phone.recover(session, bytes(16))
    assert (recovered["channel"], recovered["policy"]) == (channel, "v2_preferred")


async def test_what_is_unknown_is_404(phone: Phone) -> None:
    recording_id = await phone.announce()
    await phone.create("rec_" + "0" * 24, SEALED, 404)
    assert (await phone.create(recording_id, SEALED, 404, device_id="dev_none"))["error"][
        "param"
    ] == "device_id"
    refused = await phone.create(recording_id, SEALED, 404, end_user_id="eu_none")
    assert refused["error"]["param"] == "end_user_id"


async def test_device_end_user_and_binding_are_those_of_the_recording(phone: Phone, other: Phone) -> None:
    recording_id = await phone.announce()
    await phone.create(recording_id, SEALED, 409, device_id=other.device_id)
    await phone.create(recording_id, SEALED, 409, binding_generation=2)
    await phone.create(recording_id, SEALED, 409, binding_generation=0)
    await phone.create(recording_id, SEALED, 409, end_user_id=other.end_user_id)
    without = (await phone.call("POST", "/v1/recordings", 201, {"end_user_id": phone.end_user_id}))["id"]
    await phone.create(without, SEALED, 409)
    await phone.call("POST", f"/v1/devices/{phone.device_id}/unbind", 200)
    await phone.create(recording_id, SEALED, 409)
    bind = {"end_user_id": other.end_user_id}
    await phone.call("POST", f"/v1/devices/{phone.device_id}/bind", 200, bind)
    await phone.create(recording_id, SEALED, 409, binding_generation=2)
    await phone.call("POST", f"/v1/devices/{phone.device_id}/unbind", 200)
    await phone.call("POST", f"/v1/devices/{phone.device_id}/bind", 200, {"end_user_id": phone.end_user_id})
    # Bound to the recording's end user again: the recording was made in an earlier binding.
    await phone.create(recording_id, SEALED, 201, binding_generation=3)


@pytest.mark.parametrize(
    ("status", "expect"), [("pending", 201), ("failed", 201), ("integrity_failure", 201), ("uploaded", 409)]
)
async def test_only_a_recording_that_is_not_uploaded_takes_a_session(
    phone: Phone, ports: Ports, status: str, expect: int
) -> None:
    recording_id = await phone.announce()
    await set_recording(ports, recording_id, status=status)
    await phone.create(recording_id, seal(), expect)


async def test_a_session_names_its_recording(phone: Phone) -> None:
    recording_id = await phone.announce()
    assert (await phone.call("GET", f"/v1/recordings/{recording_id}", 200))["recording_uuid"] is None
    await phone.create(recording_id, SEALED)
    recording = await phone.call("GET", f"/v1/recordings/{recording_id}", 200)
    assert {name: recording[name] for name in SEALED.name} == SEALED.name
    # Now the name is another recording's, also for an announcement.
    await phone.create(await phone.announce(), SEALED, 409)
    body = {"device_id": phone.device_id, "end_user_id": phone.end_user_id, **SEALED.name}
    assert (await phone.call("POST", "/v1/recordings", 200, body))["id"] == recording_id


async def test_a_name_that_the_recording_has_must_be_the_same(phone: Phone) -> None:
    recording_id = await phone.announce(**SEALED.name)
    await phone.create(recording_id, SEALED, 409, recording_generation=2)
    await phone.create(recording_id, SEALED, 409, recording_uuid=NONE)
    await phone.create(recording_id, SEALED, 201)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("storage_format", "bota_enc_v1", None),
        ("channel", "4g", None),
        ("capabilities_base64", base64_of(CAPABILITIES[:-1]), "invalid_length"),
        ("capabilities_base64", base64_of(CAPABILITIES + b"\0"), "invalid_length"),
        ("capabilities_base64", base64_of(b"\2" + CAPABILITIES[1:]), "unsupported_version"),
        ("capabilities_base64", base64_of(capabilities_of(0x400 | BATCH)), "noncanonical_encoding"),
        ("capabilities_base64", base64_of(capabilities_of(CONTEXTS)), "mixed_profile"),
        ("capabilities_base64", base64_of(b"\1\1" + CAPABILITIES[2:]), "mixed_profile"),
        ("auth_nonce_base64", base64_of(bytes(15)), "invalid_length"),
        ("auth_nonce_base64", base64_of(bytes(17)), "invalid_length"),
        ("auth_nonce_base64", "AAAAAAAAAAAAAAAAAAAAAB==", "noncanonical_encoding"),
        ("auth_nonce_base64", "AAAAAAAAAAAAAAAAAAAAAA", "noncanonical_encoding"),
        ("auth_nonce_base64", "AAAAAAAAAAAAAAAAAAAA_A==", "noncanonical_encoding"),
        ("auth_nonce_base64", "AAAAAAAAAAA\nAAAAAAAAAAA==", "noncanonical_encoding"),
        ("recording_uuid", NONE.replace("4", "a").upper(), None),
        ("recording_uuid", NONE.replace("-", ""), None),
        ("recording_generation", 0, None),
        ("recording_generation", 2**32, None),
        ("binding_generation", 2**32, None),
        ("binding_generation", "1", None),
        ("ciphertext_sha256", "AB" * 32, None),
        ("ciphertext_length", 292, None),
        ("ciphertext_length", 272 + 20 + 4097, "invalid_length"),
        ("ciphertext_length", 2**32, None),
        ("ciphertext_length", True, None),
        ("device_id", "", None),
    ],
)
async def test_other_forms_are_400(phone: Phone, field: str, value: Any, reason: str | None) -> None:
    recording_id = await phone.announce()
    refused = await phone.create(recording_id, SEALED, 400, **{field: value})
    error = refused["error"]
    assert (error["code"], error["param"]) == ("invalid_request", field)
    (detail,) = error["details"]
    assert detail["field"] == field
    if reason is not None:
        assert detail["reason"] == reason


async def test_a_recording_has_two_gib_of_plain_audio_at_most(phone: Phone) -> None:
    for plaintext, expect in ((2**31, 201), (2**31 + 1, 400)):
        length = extent_of_plaintext(plaintext).ciphertext_length
        assert length > 2**31
        told = await phone.create(await phone.announce(), seal(), expect, ciphertext_length=length)
        assert told.get("error", {}).get("param") == (None if expect == 201 else "ciphertext_length")


async def test_a_key_of_one_end_user_reaches_its_own_sessions_only(
    phone: Phone, other: Phone, ports: Ports, tenant: Tenant
) -> None:
    own = phone.with_key(await make_key(ports, tenant.test_world, "rk_test", end_user_id=phone.end_user_id))
    session = await own.create(await phone.announce(), SEALED)
    foreign = await other.create(await other.announce(), seal())
    assert (await own.read(session))["session_id"] == session["session_id"]
    for call in (own.staging_url, own.cancel):
        await call(foreign, 404)
    await own.send(foreign, SEALED.manifest(session), 404)
    await own.recover(foreign, bytes(16), 404)
    await own.call("GET", path_of(foreign), 404)
    await own.create(foreign["recording_id"], seal(), 404)
    await own.create(session["recording_id"], SEALED, 404, device_id=other.device_id)
    await own.create(session["recording_id"], SEALED, 404, end_user_id=other.end_user_id)
    # Nor is a session found under another recording.
    await phone.call("GET", f"{sessions(session['recording_id'])}/{foreign['session_id']}", 404)


async def test_another_project_and_another_world_do_not_see_it(
    phone: Phone, tenant: Tenant, stranger: Tenant
) -> None:
    session = await phone.create(await phone.announce(), SEALED)
    for token in (tenant.live_key, stranger.test_key):
        foreign = phone.with_key(token)
        await foreign.call("GET", path_of(session), 404)
        await foreign.staging_url(session, 404)
        await foreign.send(session, SEALED.manifest(session), 404)
        await foreign.recover(session, bytes(16), 404)
        await foreign.cancel(session, 404)
        await foreign.create(session["recording_id"], SEALED, 404)


async def test_a_key_that_only_reads_may_not_even_read_a_session(
    phone: Phone, ports: Ports, tenant: Tenant
) -> None:
    session = await phone.create(await phone.announce(), SEALED)
    token = await make_key(ports, tenant.test_world, "rk_test", scopes=("recordings:read",))
    answer = await phone.client.get(path_of(session), headers=bearer(token))
    assert answer.status_code == 403
    assert "recordings:write" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["markers", "markers/authorization", "markers/batch", "nothing"])
async def test_routes_that_are_not_served_are_unknown(phone: Phone, path: str) -> None:
    session = await phone.create(await phone.announce(), SEALED)
    for method in ("GET", "POST"):
        await phone.call(method, f"{path_of(session)}/{path}", 404)
        await phone.call(method, f"/v1/devices/{phone.device_id}/encrypted-upload-v2/contexts", 404)
