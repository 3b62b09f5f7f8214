"""The errors of encrypted uploads that clients see."""

from __future__ import annotations

from lapel.foundation.core.errors import ApiError


class StagingMissing(ApiError):
    """Nothing is staged for the session yet: PUT the object, then send the manifest again."""

    status, code = 409, "encrypted_upload_v2_staging_missing"
