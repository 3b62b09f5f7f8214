"""The named places where a test may end the process as a power cut would."""

from __future__ import annotations

CRASH_POINTS = (
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
    # the erasure job
    "erase:begin",
    "erase:listed",
    "erase:objects-deleted",
    "erase:before-close",
    "erase:closed",
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
