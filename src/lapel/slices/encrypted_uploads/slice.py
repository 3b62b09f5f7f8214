"""The slice of encrypted uploads, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice, Table
from lapel.slices.configuration.service import Configuration
from lapel.slices.encrypted_uploads.policies.upload_policies import UploadPolicies
from lapel.slices.encrypted_uploads.signing.signing_keys import SigningKeys

SLICE = Slice(
    name="encrypted_uploads",
    build=lambda services: (SigningKeys(services.ports), UploadPolicies(services[Configuration])),
    tables=(
        Table("document_signing_keys", shared="of both worlds of a project"),
        Table("upload_policy_counters", shared="of both worlds of a project"),
        Table("upload_policies"),  # one row per device
        Table("encrypted_upload_sessions", grows=True),
    ),
)
