"""The slice of encrypted uploads, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice, Table

SLICE = Slice(
    name="encrypted_uploads",
    tables=(
        Table("document_signing_keys", shared="of both worlds of a project"),
        Table("upload_policy_counters", shared="of both worlds of a project"),
        Table("upload_policies"),  # one row per device
        Table("encrypted_upload_sessions", grows=True),
    ),
)
