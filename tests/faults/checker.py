"""Compares what clients were promised with what is really there; every difference is one finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults.evidence import Evidence, MediaRow, Served
from tests.faults.journal import Told


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One broken promise: its kind, and its subject (an id or an object's name)."""

    kind: str
    subject: str
    detail: str = ""


def judge(told: Told, there: Evidence) -> list[Finding]:
    """All findings once the system has come to rest; empty when every promise is kept."""
    findings = [
        *_answers(told),
        *_promises(told, there),
        *_puts(told, there),
        *_rows(there),
        *_objects(there),
        *_events(told, there),
        *_deletions(told, there),
        *_scratch(there),
        *_jobs(there),
    ]
    return sorted(findings)


def _answers(told: Told) -> Iterator[Finding]:
    """The client got no answer that the contract allows."""
    for surprise in told.surprises:
        yield Finding("surprising-answer", surprise.call, surprise.answer)
    for media_id in told.contradictions:
        yield Finding("promise-changed", media_id)


def _promises(told: Told, there: Evidence) -> Iterator[Finding]:
    for recording_id in told.created - told.deleting:
        if recording_id not in there.recordings:
            yield Finding("recording-lost", recording_id)
    for promise in told.standing:
        key = (promise.recording_id, promise.media_id)
        expected = Served(200, promise.content_type, promise.size, promise.sha256)
        served = there.served.get(key)
        if served != expected:
            yield Finding("promise-not-served", promise.media_id, f"{served}, promised {expected}")
        row = there.media.get(key)
        if row is None or (row.status, row.size, row.sha256) != ("uploaded", promise.size, promise.sha256):
            yield Finding("row-disagrees", promise.media_id, f"{row}, promised {promise}")
        if there.recordings.get(promise.recording_id, "uploaded") != "uploaded":
            yield Finding("recording-not-uploaded", promise.recording_id)


def _puts(told: Told, there: Evidence) -> Iterator[Finding]:
    """What the store took is kept as it was sent, or refused: nothing of it is forgotten or left waiting."""
    for key, sent in told.puts.items():
        recording_id, media_id = key
        row = there.media.get(key)
        if recording_id in told.deleting:
            continue
        if row is None:
            yield Finding("put-forgotten", media_id)
        elif row.status not in ("uploaded", "failed"):
            yield Finding("put-left-waiting", media_id, row.status)
        elif row.status == "uploaded" and (row.size, row.sha256) not in sent:
            yield Finding("not-what-was-put", media_id, f"{row}, sent {sent}")
    for key, promise in told.promised.items():
        if key in told.puts and (promise.size, promise.sha256) not in told.puts[key]:
            yield Finding("promise-of-other-bytes", promise.media_id)


def _uploaded(there: Evidence) -> Iterator[tuple[str, MediaRow]]:
    for row in there.media.values():
        if row.status == "uploaded":
            yield row.object_key or "", row


def _rows(there: Evidence) -> Iterator[Finding]:
    """Each uploaded row has its object, with the bytes that the row names."""
    for key, row in _uploaded(there):
        if key not in there.objects:
            yield Finding("row-without-object", row.media_id, key)
        elif (there.objects[key], there.object_hashes[key]) != (row.size, row.sha256):
            yield Finding("object-differs", row.media_id, f"{there.objects[key]} bytes of {row}")
    for row in there.media.values():
        if row.status == "verifying":
            yield Finding("verification-unfinished", row.media_id)


def _objects(there: Evidence) -> Iterator[Finding]:
    """Each object has its row: an object without one should have been swept."""
    named = {key for key, _ in _uploaded(there)}
    for key in there.objects.keys() - named:
        yield Finding("object-without-row", key)


def _events(told: Told, there: Evidence) -> Iterator[Finding]:
    """`created` once per recording, `uploaded` once per uploaded one; of a deleted one only `deleted`."""
    counted = Counter(there.events)
    for recording_id, status in there.recordings.items():
        expected = {"recording.created": 1, "recording.uploaded": int(status == "uploaded")}
        expected["recording.deleted"] = 0
        for kind, number in expected.items():
            found = counted[kind, recording_id]
            if found != number:
                yield Finding("event-missing" if found < number else "event-surplus", recording_id, kind)
    for (kind, resource_id), number in counted.items():
        if not kind.startswith("recording.") or resource_id in there.recordings:
            continue
        if kind != "recording.deleted":
            yield Finding("event-of-deleted", resource_id, kind)
        elif number > 1:
            yield Finding("event-surplus", resource_id, kind)
    for recording_id in told.deleted:
        if not counted["recording.deleted", recording_id]:
            yield Finding("event-missing", recording_id, "recording.deleted")


def _deletions(told: Told, there: Evidence) -> Iterator[Finding]:
    for recording_id in told.deleted:
        if recording_id in there.recordings:
            yield Finding("deleted-row-there", recording_id)
        if there.answers_of_deleted.get(recording_id, 404) != 404:
            yield Finding("deleted-still-answers", recording_id)
        if recording_id not in there.tombstones:
            yield Finding("tombstone-missing", recording_id)
        if recording_id not in there.erasures:
            yield Finding("ledger-entry-missing", recording_id)
    for recording_id, state in there.erasures.items():
        if state != "closed":
            yield Finding("ledger-entry-open", recording_id, state)
    # Also recordings whose deletion was not answered: they are either deleted completely or not at all.
    for recording_id in there.tombstones & there.recordings.keys():
        yield Finding("half-deleted", recording_id)


def _scratch(there: Evidence) -> Iterator[Finding]:
    """No work on audio is under way, so no audio is left outside the store."""
    for name in there.scratch:
        yield Finding("audio-in-scratch", name)
    for recording_id in there.copies:
        yield Finding("copy-not-forgotten", recording_id)


def _jobs(there: Evidence) -> Iterator[Finding]:
    for entrypoint, status in there.jobs:
        yield Finding("job-left", entrypoint, status)
