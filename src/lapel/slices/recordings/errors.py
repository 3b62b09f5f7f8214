"""The errors of recordings that clients see."""

from __future__ import annotations

from lapel.foundation.core.errors import ApiError


class MediaNotUploaded(ApiError):
    """The object that the request needs is not uploaded."""

    status, code = 409, "media_not_uploaded"


class IntegrityFailure(ApiError):
    """The bytes in the store are not the bytes that were announced."""

    status, code = 409, "integrity_failure"


class EncryptedUploadV2Required(ApiError):
    """The recording's device must encrypt what it uploads, so a plain upload is refused."""

    status, code = 409, "encrypted_upload_v2_required"


class UploadVerificationPending(ApiError):
    """The object is still being hashed; repeat the identical request."""

    status, code = 425, "upload_verification_pending"

    def __init__(self, message: str, *, retry_after: int = 2) -> None:
        super().__init__(message, headers=(("Retry-After", str(retry_after)),))
