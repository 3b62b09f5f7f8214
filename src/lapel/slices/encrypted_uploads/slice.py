"""The slice of encrypted uploads, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.slices import Slice, Table
from lapel.slices.configuration.service import Configuration
from lapel.slices.encrypted_uploads import jobs, routes
from lapel.slices.encrypted_uploads.errors import StagingMissing
from lapel.slices.encrypted_uploads.policies.upload_policies import UploadPolicies
from lapel.slices.encrypted_uploads.publication import publication_jobs
from lapel.slices.encrypted_uploads.publication.publisher import Publisher
from lapel.slices.encrypted_uploads.sessions.clearing import Clearing
from lapel.slices.encrypted_uploads.sessions.service import UploadSessions
from lapel.slices.encrypted_uploads.signing.signing_keys import SigningKeys
from lapel.slices.recordings.service import Recordings

if TYPE_CHECKING:
    from lapel.foundation.slices import Services

_CRASH_POINTS = (
    # create
    "encrypted-session:locked",
    "encrypted-session:row-written",
    "encrypted-session:before-commit",
    # manifest
    "encrypted-manifest:verified",
    "encrypted-manifest:accepted",
    "encrypted-manifest:before-commit",
    "encrypted-manifest:committed",
    # recover
    "encrypted-recover:cancelled",
    "encrypted-recover:before-commit",
    "encrypted-recover:committed",
    # cancel
    "encrypted-cancel:before-commit",
    "encrypted-cancel:committed",
    # the clearing of staged objects
    "encrypted-clear:objects-deleted",
    "encrypted-clear:committed",
    # publication
    "encrypted-publish:begin",
    "encrypted-publish:claimed",
    "encrypted-publish:opening",
    "encrypted-publish:written",
    "encrypted-publish:audio-published",
    "encrypted-publish:before-commit",
    "encrypted-publish:committed",
    "encrypted-publish:before-failure",
    "encrypted-publish:failure-written",
    "encrypted-publish:failed",
)


def _build(services: Services) -> tuple[object, ...]:
    keys, policies = SigningKeys(services.ports), UploadPolicies(services[Configuration])
    publisher = Publisher(services.ports, services[Recordings].audio_publication, keys)
    sessions, clearing = UploadSessions(services.ports, keys, policies), Clearing(services.ports)
    return keys, policies, publisher, sessions, clearing


SLICE = Slice(
    name="encrypted_uploads",
    build=_build,
    operations=lambda services: routes.operations(services[UploadSessions]),
    jobs=lambda services: publication_jobs.handlers(services[Publisher]),
    schedules=lambda services: (
        *publication_jobs.schedules(services[Publisher]),
        *jobs.schedules(services[Clearing]),
    ),
    uuids=("upload_session_id",),
    errors=(StagingMissing,),
    lanes=(publication_jobs.LANE,),
    tables=(
        Table("document_signing_keys", shared="of both worlds of a project"),
        Table("upload_policy_counters", shared="of both worlds of a project"),
        Table("upload_policies"),  # one row per device
        Table("encrypted_upload_sessions", grows=True),
    ),
    crash_points=_CRASH_POINTS,
)
