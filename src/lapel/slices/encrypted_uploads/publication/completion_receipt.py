"""The receipt of a published session."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.slices.encrypted_uploads.documents import digests, receipt, upload_authorization
from lapel.slices.encrypted_uploads.documents.receipt import Receipt

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.slices.encrypted_uploads.signing.signing_keys import SigningKey

# The first receipt is the only one, and a phone may fetch it long after the publication: a receipt that had
# expired by then would leave the recording on its device for ever.
_VALID = timedelta(days=3653)


def signed_receipt(
    authorization: bytes,
    plaintext_sha256: bytes,
    *,
    bucket: str,
    object_name: str,
    key: SigningKey,
    now: datetime,
) -> bytes:
    """The 336 bytes. What the receipt says of session, owner, device and tenant is the authorization's.

    `bucket` and `object_name`: where the plain audio is.
    """
    issued = upload_authorization.parse(authorization)
    issued_at = int(now.timestamp())
    return receipt.encode(
        Receipt(
            environment=issued.environment,
            owner_revision=issued.owner_revision,
            binding_generation=issued.binding_generation,
            recording_generation=issued.recording_generation,
            signing_key_id=key.key_id,
            issued_at=issued_at,
            expires_at=issued_at + int(_VALID.total_seconds()),
            session_uuid=issued.session_uuid,
            recording_uuid=issued.recording_uuid,
            tenant=issued.tenant,
            device=issued.device,
            ciphertext_sha256=issued.ciphertext_sha256,
            plaintext_sha256=plaintext_sha256,
            publication=digests.publication(bucket, object_name, plaintext_sha256),
            configuration=issued.configuration,
        ),
        key.private_key,
    )
