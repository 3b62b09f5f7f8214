"""A device obeys only documents for itself, and keeps its copy until a receipt says all that it holds."""

from __future__ import annotations

import base64
from typing import Any
from uuid import UUID

import pytest

from lapel.simulate.client.caller import CallFailed
from lapel.simulate.sealing.device_refusals import DeviceRefusal, RefusalCode
from lapel.simulate.sealing.sealing_device import WantedUpload
from tests.simulate.fake_cloud import GENERATION
from tests.simulate.phones import RECORDING, USUAL, Phone


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("environment", 1, RefusalCode.ENVIRONMENT),
        ("issued_at", 1_700_000_000, None),
        ("expires_at", 1_799_999_999, RefusalCode.EXPIRED),
        ("device", bytes(32), RefusalCode.IDENTITY),
        ("session_uuid", UUID(int=1), RefusalCode.IDENTITY),
        ("owner_revision", 2, RefusalCode.IDENTITY),
        ("binding_generation", 2, RefusalCode.BINDING),
        ("recording_generation", 2, RefusalCode.RECORDING),
        ("recording_uuid", UUID(int=1), RefusalCode.RECORDING),
        ("ciphertext_sha256", bytes(32), RefusalCode.STORAGE),
        ("channel_mask", 2, RefusalCode.STORAGE),
        ("signing_key_id", 2, RefusalCode.SIGNATURE),
    ],
)
async def test_an_authorization_for_anything_else_is_refused(
    phone: Phone, field: str, value: Any, code: RefusalCode | None
) -> None:
    phone.cloud.change_authorization = {field: value}
    if field == "expires_at":
        phone.cloud.change_authorization["issued_at"] = value - 1
    if code is None:
        await phone.upload()
        return
    with pytest.raises(DeviceRefusal) as refusal:
        await phone.upload()
    assert refusal.value.code == code
    assert phone.firmware.holds(1)
    assert phone.cloud.calls == USUAL[:2]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("environment", 0, RefusalCode.ENVIRONMENT),
        ("owner_revision", 2, RefusalCode.IDENTITY),
        ("binding_generation", 4, RefusalCode.IDENTITY),
        ("recording_generation", 2, RefusalCode.RECORDING),
        ("signing_key_id", 9, RefusalCode.SIGNATURE),
        ("session_uuid", UUID(int=1), RefusalCode.IDENTITY),
        ("recording_uuid", UUID(int=1), RefusalCode.RECORDING),
        ("tenant", bytes(32), RefusalCode.IDENTITY),
        ("device", bytes(32), RefusalCode.IDENTITY),
        ("configuration", bytes(32), RefusalCode.IDENTITY),
        ("ciphertext_sha256", bytes(32), RefusalCode.RECEIPT),
        ("plaintext_sha256", bytes(32), RefusalCode.RECEIPT),
    ],
)
async def test_a_receipt_for_anything_else_deletes_nothing(
    phone: Phone, field: str, value: Any, code: RefusalCode
) -> None:
    phone.cloud.change_receipt = {field: value}
    with pytest.raises(DeviceRefusal) as refusal:
        await phone.upload()
    assert refusal.value.code == code
    assert phone.firmware.holds(1)
    assert not phone.firmware.has_receipt(1)


async def test_a_policy_never_goes_back(phone: Phone) -> None:
    phone.cloud.policy_revision = 5
    phone.cloud.forced["put"] = [403]
    with pytest.raises(CallFailed):
        await phone.upload()
    phone.cloud.now += phone.cloud.lifetime
    for change in ({"policy_revision": 4}, {"policy": 1}, {"configuration": bytes(32)}):
        phone.cloud.change_authorization = change
        with pytest.raises(DeviceRefusal) as refusal:
            await phone.upload()
        assert refusal.value.code == RefusalCode.DOWNGRADE
    phone.cloud.change_authorization = {"policy_revision": 6, "policy": 2}
    await phone.upload()


async def test_an_older_owner_of_the_same_session_is_refused(phone: Phone) -> None:
    note = phone.notes.load(1)
    body = {
        "binding_generation": GENERATION,
        "recording_uuid": str(RECORDING),
        "recording_generation": 1,
        "ciphertext_length": note.ciphertext_length,
        "ciphertext_sha256": note.ciphertext_sha256.hex(),
    }
    session = UUID("00112233-4455-4677-8899-aabbccddeeff")
    phone.cloud.change_authorization = {"session_uuid": session}

    def authorize(revision: int) -> bytes:
        nonce = base64.b64encode(phone.firmware.nonce).decode()
        made = phone.cloud.make("rec_1", body, nonce, revision)
        wanted = WantedUpload(str(session), revision, GENERATION, "ble")
        return phone.firmware.authorize(1, made["authorization"], wanted)

    first = authorize(2)
    for revision in (1, 2):
        with pytest.raises(DeviceRefusal) as refusal:
            authorize(revision)
        assert refusal.value.code == RefusalCode.REPLAY_CONFLICT
    assert authorize(3) != first
