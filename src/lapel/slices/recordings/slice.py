"""The slice of recordings, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice, Table
from lapel.slices.recordings import jobs, routes
from lapel.slices.recordings.errors import (
    EncryptedUploadV2Required,
    IntegrityFailure,
    MediaNotUploaded,
    UploadVerificationPending,
)
from lapel.slices.recordings.events import SAMPLES
from lapel.slices.recordings.service import UPLOAD_URLS, Recordings
from lapel.slices.recordings.uploads.token_lookup_queries import UPLOAD_TOKEN

_CRASH_POINTS = (
    # upload-url
    "upload-url:begin",
    "upload-url:media-written",
    "upload-url:attempt-written",
    "upload-url:before-commit",
    # upload-complete, objects that are hashed in the call
    "complete:begin",
    "complete:found",
    "complete:before-copy",
    "complete:copied",
    "complete:hashed",
    "complete:before-claim",
    "complete:claimed",
    "complete:committed",
    "complete:before-deletion",
    "complete:staging-deleted",
    "complete:before-refusal",
    "complete:refused",
    "complete:copies-deleted",
    # upload-complete, large objects: handed to a job
    "verify:before-begin",
    "verify:begun",
    "verify:committed",
    # the job
    "hash:begin",
    "hash:before-copy",
    "hash:copied",
    "hash:hashed",
    "hash:before-claim",
    "hash:claimed",
    "hash:committed",
    "hash:staging-deleted",
    "hash:before-refusal",
    "hash:refused",
    "hash:copies-deleted",
    # deletion
    "delete:locked",
    "delete:ledger-written",
    "delete:rows-deleted",
    "delete:before-commit",
    "delete:committed",
    "delete:objects-deleted",
    # the job that deletes the rows of an end user
    "delete-all:begin",
    "delete-all:rows-erased",
    "delete-all:batch-deleted",
    "delete-all:before-commit",
    "delete-all:batch-committed",
    "delete-all:committed",
    # legal holds
    "hold:before-place",
    "hold:placed",
    "hold:before-release",
    "hold:released",
    # the job that erases what a released hold postponed
    "release:begin",
    "release:deletions-over",
    "release:rows-deleted",
    "release:batch-committed",
    "release:before-commit",
    "release:committed",
    # the reconciler
    "reconcile:begin",
    "reconcile:unfinished",
    "reconcile:before-expiry",
    "reconcile:expired",
    "reconcile:walk",
    "reconcile:before-sweep",
    "reconcile:swept",
    "reconcile:end",
)

SLICE = Slice(
    name="recordings",
    build=lambda services: (Recordings(services.ports),),
    operations=lambda services: routes.operations(services[Recordings]),
    jobs=lambda services: jobs.handlers(services[Recordings]),
    schedules=lambda services: jobs.schedules(services[Recordings]),
    scopes=("recordings:read", "recordings:write"),
    ids={"recording_id": "rec", "media_id": "med", "attempt_id": "att"},
    token_kinds=(UPLOAD_TOKEN,),
    errors=(MediaNotUploaded, IntegrityFailure, EncryptedUploadV2Required, UploadVerificationPending),
    buckets=(UPLOAD_URLS,),
    lanes=(jobs.VERIFYING,),
    tables=(
        Table("recordings", grows=True),
        Table("media", grows=True),
        Table("upload_attempts", grows=True),
        Table("upload_tokens", grows=True),
        Table("tombstones", grows=True),
        Table("findings", shared="counts of what the reconciler found"),
        Table("walks", shared="how far the reconciler's walks over the store have come"),
    ),
    events=SAMPLES,
    crash_points=_CRASH_POINTS,
)
