"""A manifest is compared with its session in the stated order, and only its session's key opens it."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

import msgspec
import pytest

from lapel.slices.encrypted_uploads.documents import hpke, manifest, upload_authorization
from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.documents.manifest import UploadManifest
from tests.encrypted_uploads.documents.samples import (
    DATA_KEY,
    PLAINTEXT,
    RECIPIENT,
    SIGNING,
    opened,
    sealed,
    upload,
)
from tests.support.device_sealing import seal_envelope, seal_manifest

OTHER = UUID(int=99)
# In the order of the checks: each is compared before those below it.
DIFFERENCES: list[tuple[str, Any, str]] = [
    ("session_uuid", OTHER, "session_mismatch"),
    ("owner_revision", 2, "session_mismatch"),
    ("binding_generation", 6, "binding_generation_mismatch"),
    ("recording_uuid", OTHER, "recording_identity_mismatch"),
    ("recording_generation", 8, "recording_identity_mismatch"),
    ("recipient_key_uuid", OTHER, "identity_mismatch"),
    ("policy", 0, "identity_mismatch"),
    ("tenant", bytes(32), "identity_mismatch"),
    ("device", bytes(32), "identity_mismatch"),
    ("configuration", bytes(32), "identity_mismatch"),
    ("staging", bytes(32), "identity_mismatch"),
    ("ciphertext_length", 293, "identity_mismatch"),
    ("ciphertext_sha256", bytes(32), "identity_mismatch"),
    ("authorization_sha256", bytes(32), "identity_mismatch"),
]


def changed(**fields: Any) -> UploadManifest:
    return msgspec.structs.replace(manifest.parse(upload().manifest), **fields)


def refusal(made: UploadManifest, authorization: bytes | None = None) -> Refused:
    with pytest.raises(Refused) as refused:
        manifest.check(made, authorization or upload().authorization)
    return refused.value


@pytest.mark.parametrize("at", range(len(DIFFERENCES)))
def test_the_first_difference_is_told(at: int) -> None:
    name, _, reason = DIFFERENCES[at]
    found = refusal(changed(**{each: value for each, value, _ in DIFFERENCES[at:]}))
    assert found.reason == reason
    assert str(found).startswith(f"{name} ")


def test_a_channel_that_is_not_authorized_is_refused() -> None:
    issued = upload_authorization.parse(upload().authorization)
    wifi_only = upload_authorization.encode(msgspec.structs.replace(issued, channel_mask=2), SIGNING)
    manifest.check(manifest.parse(seal_manifest(upload().facts, DATA_KEY, wifi_only, channel=2)), wifi_only)
    for channel in (1, 3):
        made = seal_manifest(upload().facts, DATA_KEY, wifi_only, channel=channel)
        assert refusal(manifest.parse(made), wifi_only).reason == "identity_mismatch"


def test_an_envelope_for_another_authorization_does_not_open() -> None:
    issued = upload_authorization.parse(upload().authorization)
    later = upload_authorization.encode(msgspec.structs.replace(issued, owner_revision=2), SIGNING)
    with pytest.raises(Refused) as refused:
        manifest.open_key(upload().manifest, RECIPIENT, later)
    assert refused.value.reason == "hpke_open_failed"


def test_an_envelope_whose_plain_text_names_another_upload_is_refused() -> None:
    """Sealed for this authorization and object, with the two digests in the wrong order."""
    made = manifest.parse(upload().manifest)
    context = hashlib.sha256(b"bota/enc-v2/upload-context/v1" + upload().authorization).digest()
    enc, ciphertext = seal_envelope(
        hpke.public_key(RECIPIENT),
        info=b"bota/enc-v2/hpke-key-export/v1\x02\x00\x01\x00",
        aad=context + made.storage_identity,
        plaintext=DATA_KEY + context + made.storage_identity,
    )
    data = manifest.LAYOUT.pack(changed(encapsulated_key=enc, sealed_key=ciphertext))
    with pytest.raises(Refused) as refused:
        manifest.open_key(data, RECIPIENT, upload().authorization)
    assert refused.value.reason == "digest_mismatch"


def test_a_tag_of_another_key_is_refused_after_the_envelope_has_opened() -> None:
    data = upload().manifest[:-1] + bytes([upload().manifest[-1] ^ 1])
    with pytest.raises(Refused) as refused:
        manifest.open_key(data, RECIPIENT, upload().authorization)
    assert refused.value.reason == "authentication_failed"


def test_lengths_that_do_not_belong_together_are_refused() -> None:
    for fields in ({"block_count": 2}, {"plaintext_length": 1}, {"ciphertext_length": 272}):
        with pytest.raises(Refused) as refused:
            manifest.parse(manifest.LAYOUT.pack(changed(**fields)))
        assert refused.value.reason == "invalid_length"


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (12, 2),
        (13, 2),
        (14, 3),
        (15, 0),
        (15, 4),
        (16, 2),
        (18, 0),
        (20, 2),
        (22, 1),
        (24, 2),
        (26, 2),
        (41, 32),
    ]
    + [(48, each) for each in (0, 1, 2, 4, 6, 7, 11)],
)
def test_values_that_are_not_defined_are_refused(at: int, value: int) -> None:
    data = bytearray(upload().manifest)
    data[at] = value
    with pytest.raises(Refused) as refused:
        manifest.parse(bytes(data))
    assert refused.value.reason == "noncanonical_encoding"


def test_the_staged_object_is_compared() -> None:
    made = manifest.parse(upload().manifest)
    manifest.check_length(made, len(upload().stored))
    with pytest.raises(Refused) as refused:
        manifest.check_length(made, len(upload().stored) - 1)
    assert refused.value.reason == "invalid_length"
    facts = opened(upload().stored)[1]
    manifest.check_opened(made, facts)
    for name in ("ciphertext_sha256", "plaintext_sha256", "trailer_sha256"):
        with pytest.raises(Refused) as refused:
            manifest.check_opened(made, msgspec.structs.replace(facts, **{name: bytes(32)}))
        assert refused.value.reason == "digest_mismatch"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"recording_uuid": OTHER}, "recording_identity_mismatch"),
        ({"recording_generation": 8}, "recording_identity_mismatch"),
        ({"flags": 5}, "integrity_failed"),
        ({"ciphertext_length": 1}, "invalid_length"),
        ({"ciphertext_sha256": bytes(32)}, "digest_mismatch"),
        ({"plaintext_sha256": bytes(32)}, "digest_mismatch"),
        ({"header_sha256": bytes(32)}, "digest_mismatch"),
        ({"trailer_sha256": bytes(32)}, "digest_mismatch"),
    ],
    ids=str,
)
def test_an_opened_object_that_the_manifest_does_not_describe_is_refused(
    fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Refused) as refused:
        manifest.check_opened(changed(**fields), upload().facts)
    assert refused.value.reason == reason


def test_an_object_that_was_sealed_while_it_was_recorded_is_accepted_as_such() -> None:
    stored, facts = sealed(PLAINTEXT, mode=2)
    assert (stored[12:16], stored[-144 + 12 : -144 + 16]) == (b"\2\0\0\0", b"\1\2\0\0")
    data = seal_manifest(facts, DATA_KEY, upload().authorization)
    assert data[48:52] == b"\5\0\0\0", "complete, and streaming"
    assert opened(stored) == (PLAINTEXT, facts)
    manifest.check_opened(manifest.parse(data), facts)
    of_a_batch = msgspec.structs.replace(manifest.parse(data), flags=3)
    with pytest.raises(Refused) as refused:
        manifest.check_opened(of_a_batch, facts)
    assert refused.value.reason == "integrity_failed"


def test_an_object_that_was_swapped_is_refused() -> None:
    other = opened(sealed(b"another recording of the same key")[0])[1]
    with pytest.raises(Refused):
        manifest.check_opened(manifest.parse(upload().manifest), other)
