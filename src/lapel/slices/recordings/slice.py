"""The slice of recordings, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice
from lapel.slices.recordings import jobs, routes
from lapel.slices.recordings.service import Recordings

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
    # the job that deletes the rows of an end user
    "delete-all:begin",
    "delete-all:rows-erased",
    "delete-all:before-commit",
    "delete-all:batch-committed",
    "delete-all:committed",
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
    crash_points=_CRASH_POINTS,
)
