"""The public test vectors, and a verification of each kind of case with the facts of its context."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from lapel.slices.encrypted_uploads.documents import (
    capabilities,
    digests,
    manifest,
    signatures,
    upload_authorization,
)
from lapel.slices.encrypted_uploads.documents.stored_object.opener import BlockOpener
from tests.encrypted_uploads.documents.samples import fed
from tests.support.device_sealing import encode_capabilities
from tests.support.device_verification import (
    Expectations,
    choose,
    public_key_of_der,
    replay_of,
    verify_authorization,
    verify_receipt,
)

FILE = Path(__file__).parents[2] / "fixtures" / "encrypted-upload-v2.json"


@dataclass(frozen=True, slots=True)
class Case:
    """One case: its bytes, what the verifier knows, and the verdict."""

    name: str
    operation: str
    data: bytes
    context: dict[str, Any]
    expected: dict[str, Any]
    error: str | None

    def bytes_of(self, name: str) -> bytes | None:
        """A value of the context that is given in hex."""
        found = self.context.get(f"{name}Hex")
        return None if found is None else bytes.fromhex(found)


@cache
def document() -> dict[str, Any]:
    """The whole file."""
    return json.loads(FILE.read_text())


@cache
def cases() -> dict[str, Case]:
    """The cases by their names."""
    return {
        each["name"]: Case(
            each["name"],
            each["operation"],
            bytes.fromhex(each["inputHex"]),
            each["context"],
            each.get("expected", {}),
            each.get("expectedError"),
        )
        for each in document()["cases"]
    }


def key(name: str) -> bytes:
    """One of the published test keys."""
    return bytes.fromhex(document()["keys"][f"{name}Hex"])


def expectations_of(case: Case) -> Expectations:
    """What the verifier of a signed document knows."""
    context = case.context
    return Expectations(
        environment=context["expectedEnvironment"],
        session_uuid=UUID(context["expectedSessionUuid"]),
        binding_generation=context["expectedBindingGeneration"],
        recording_uuid=UUID(context["expectedRecordingUuid"]),
        recording_generation=context["expectedRecordingGeneration"],
        device=case.bytes_of("expectedDeviceIdentityDigest") or b"",
        ciphertext_sha256=case.bytes_of("expectedCiphertextSha256") or b"",
        tenant=case.bytes_of("expectedTenantContextDigest"),
        configuration=case.bytes_of("expectedConfigurationDigest"),
        staging=case.bytes_of("expectedStagingObjectDigest"),
        owner_revision=context.get("expectedOwnerRevision"),
        plaintext_sha256=case.bytes_of("expectedPlaintextSha256"),
    )


def issued_for(case: Case) -> bytes:
    """The authorization of 408 bytes with which the facts of a manifest's context agree."""
    issued = upload_authorization.parse(cases()["authorization-production"].data)
    context = case.context
    return upload_authorization.encode(
        msgspec.structs.replace(
            issued,
            session_uuid=UUID(context["expectedSessionUuid"]),
            owner_revision=context["expectedOwnerRevision"],
            binding_generation=context["expectedBindingGeneration"],
            recording_uuid=UUID(context["expectedRecordingUuid"]),
            recording_generation=context["expectedRecordingGeneration"],
            device=case.bytes_of("expectedDeviceIdentityDigest"),
            tenant=case.bytes_of("expectedTenantContextDigest"),
            configuration=case.bytes_of("expectedConfigurationDigest"),
            staging=case.bytes_of("expectedStagingObjectDigest"),
            ciphertext_sha256=case.bytes_of("expectedCiphertextSha256"),
        ),
        signatures.private_key(key("backendP256SigningKey")),
    )


def run(case: Case) -> dict[str, Any]:
    """What the expected values of a case must be. Raises Refused as the verifier does."""
    return _OPERATIONS[case.operation](case)


def _stored_object(case: Case) -> dict[str, Any]:
    opener = BlockOpener(case.bytes_of("dataKey") or b"", len(case.data))
    fed(opener, case.data)
    found = opener.finish()
    return {
        "normalized": {
            "blockCount": found.extent.block_count,
            "blockSize": found.header.block_size,
            "ciphertextLength": found.extent.ciphertext_length,
            "ciphertextSha256Hex": found.ciphertext_sha256.hex(),
            "formatVersion": int.from_bytes(case.data[8:10], "little"),
            "plaintextLength": found.extent.plaintext_length,
            "plaintextSha256Hex": found.plaintext_sha256.hex(),
            "recordingGeneration": found.header.recording_generation,
            "recordingUuid": str(found.header.recording_uuid),
        }
    }


def _authorization(case: Case) -> dict[str, Any]:
    public = public_key_of_der(case.bytes_of("backendP256PublicKeySpkiDer") or b"")
    now = case.context["nowSeconds"]
    found = verify_authorization(case.data, public, now=now, expected=expectations_of(case))
    return {
        "normalized": {
            **_common(found),
            "ciphertextLength": found.ciphertext_length,
            "environment": found.environment,
            "expiresAt": found.expires_at,
            "issuedAt": found.issued_at,
            "policy": found.policy,
            "signatureValid": True,
        }
    }


def _manifest(case: Case) -> dict[str, Any]:
    """The verifier of the vectors knows the data key, so it checks the tag before it opens the envelope."""
    authorization = issued_for(case)
    found = manifest.parse(case.data)
    manifest.check(found, authorization)
    assert found.plaintext_sha256 == case.bytes_of("expectedPlaintextSha256")
    manifest.verify_tag(case.data, case.bytes_of("dataKey") or b"")
    private_key = case.bytes_of("hpkeRecipientPrivateKey") or b""
    data_key = manifest.open_key(case.data, private_key, authorization)
    context = digests.upload_context(authorization)
    return {
        "normalized": {
            **_common(found),
            "blockCount": found.block_count,
            "blockSize": found.block_size,
            "ciphertextLength": found.ciphertext_length,
            "hpkePlaintextHex": (data_key + found.storage_identity + context).hex(),
            "manifestTagValid": True,
            "plaintextLength": found.plaintext_length,
            "plaintextSha256Hex": found.plaintext_sha256.hex(),
            "policy": found.policy,
            "selectedChannel": found.channel,
            "storageIdentityDigestHex": found.storage_identity.hex(),
            "uploadContextDigestHex": context.hex(),
        }
    }


def _receipt(case: Case) -> dict[str, Any]:
    public = public_key_of_der(case.bytes_of("backendP256PublicKeySpkiDer") or b"")
    now = case.context["nowSeconds"]
    found = verify_receipt(case.data, public, now=now, expected=expectations_of(case))
    return {
        "normalized": {
            **_common(found),
            "environment": found.environment,
            "expiresAt": found.expires_at,
            "issuedAt": found.issued_at,
            "plaintextSha256Hex": found.plaintext_sha256.hex(),
            "receiptReplay": replay_of(case.data, case.bytes_of("previousReceiptSha256")),
            "signatureValid": True,
        }
    }


def _common(found: Any) -> dict[str, Any]:
    """The fields of all three documents of a session."""
    return {
        "bindingGeneration": found.binding_generation,
        "ciphertextSha256Hex": found.ciphertext_sha256.hex(),
        "ownerRevision": found.owner_revision,
        "recordingGeneration": found.recording_generation,
        "recordingUuid": str(found.recording_uuid),
        "sessionUuid": str(found.session_uuid),
        "storageFormat": found.storage_format,
        "transportProfile": found.profile,
    }


def _capabilities(case: Case) -> dict[str, Any]:
    found = capabilities.parse(case.data)
    return {
        "decodedType": "capability",
        "encodedHex": encode_capabilities(found).hex(),
        "normalized": {
            "durableCheckpointIntervalBlocks": found.checkpoint_interval_blocks,
            "flags": found.flags,
            "highestTransferProfileVersion": found.highest_profile,
            "maximumDataPayloadBytes": found.maximum_data_payload,
            "maximumManifestBytes": found.maximum_manifest,
            "maximumMissingSequences": found.maximum_missing_sequences,
            "maximumSignedBlobBytes": found.maximum_signed_blob,
            "maximumWindowPackets": found.maximum_window_packets,
        },
    }


def _compatibility(case: Case) -> dict[str, Any]:
    context = case.context
    choice = choose(
        context["requestedProfile"],
        context["backendPolicy"],
        capability_read=context["capabilityRead"],
        capability_batch=context["capabilityBatch"],
    )
    return {
        "accepted": True,
        "emittedPacketProfile": choice.profile,
        "relayRoute": choice.route,
        "selectedProfile": choice.profile,
    }


_OPERATIONS = {
    "verifyStorageObject": _stored_object,
    "verifyUploadAuthorization": _authorization,
    "verifyUploadManifest": _manifest,
    "verifyCompletionReceipt": _receipt,
    "decodeCapabilities": _capabilities,
    "runCompatibilityTrace": _compatibility,
}
