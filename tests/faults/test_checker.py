"""The test of the test: what a fault would leave behind turns the checker red, and names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from unittest.mock import ANY

import pytest

from tests.faults.checker import Finding, judge
from tests.faults.evidence import Evidence, MediaRow, Served
from tests.faults.journal import Created, Deleted, Deleting, Journal, Promised, Put, Surprise, Told, read

KEY = "media/proj_1/rec_1/med_1/att_1/audio.opus"
OTHER = "media/proj_1/rec_4/med_4/att_4/audio.opus"
PROMISE = Promised("rec_1", "med_1", "audio/opus", 3, "aa")
SOUND = [
    Created("rec_1"),
    Created("rec_2"),
    Created("rec_3"),
    Put("rec_1", "med_1", 3, "aa"),
    PROMISE,
    # The client of this one stopped; that of the next one was refused.
    Created("rec_4"),
    Put("rec_4", "med_4", 4, "dd"),
    Created("rec_5"),
    Put("rec_5", "med_5", 4, "cc"),
    Promised("rec_2", "med_2", "audio/opus", 5, "bb"),
    Deleting("rec_2"),
    Deleted("rec_2"),
]


def sound() -> Evidence:
    """One promised recording, one deleted, one pending, one completed without its client, and one refused."""
    uploaded = MediaRow("rec_1", "med_1", "uploaded", "audio/opus", 3, "aa", KEY)
    pending = MediaRow("rec_3", "med_3", "pending", "audio/opus", None, None, None)
    return Evidence(
        recordings={"rec_1": "uploaded", "rec_3": "pending", "rec_4": "uploaded", "rec_5": "failed"},
        media={
            ("rec_1", "med_1"): uploaded,
            ("rec_3", "med_3"): pending,
            ("rec_4", "med_4"): MediaRow("rec_4", "med_4", "uploaded", "audio/opus", 4, "dd", OTHER),
            ("rec_5", "med_5"): MediaRow("rec_5", "med_5", "failed", "audio/opus", None, None, None),
        },
        objects={KEY: 3, OTHER: 4},
        object_hashes={KEY: "aa", OTHER: "dd"},
        events=[
            ("recording.created", "rec_1"),
            ("recording.uploaded", "rec_1"),
            *((f"recording.{what}", "rec_4") for what in ("created", "uploaded")),
            *(("recording.created", each) for each in ("rec_3", "rec_5")),
            ("recording.deleted", "rec_2"),
            ("device.bound", "dev_1"),
        ],
        tombstones={"rec_2"},
        erasures={"rec_2": "closed"},
        jobs=[],
        served={("rec_1", "med_1"): Served(200, "audio/opus", 3, "aa")},
        answers_of_deleted={"rec_2": 404},
    )


@pytest.fixture
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    journal = Journal(tmp_path_factory.mktemp("journal") / "journal.jsonl")
    for entry in SOUND:
        journal.write(entry)
    journal.close()
    return read(journal.path)


def test_a_sound_world_has_no_findings(told: Told) -> None:
    assert judge(told, sound()) == []


def lose_object(there: Evidence) -> None:
    """The bytes are gone; the rows know nothing of it."""
    del there.objects[KEY], there.object_hashes[KEY]
    there.served["rec_1", "med_1"] = Served(404)


def lose_rows(there: Evidence) -> None:
    """The whole upload is gone."""
    lose_object(there)
    del there.recordings["rec_1"], there.media["rec_1", "med_1"]
    there.events.remove(("recording.created", "rec_1"))
    there.events.remove(("recording.uploaded", "rec_1"))


def change_bytes(there: Evidence) -> None:
    there.object_hashes[KEY] = "ff"
    there.served["rec_1", "med_1"] = Served(200, "audio/opus", 3, "ff")


def change_row(there: Evidence) -> None:
    row = there.media["rec_1", "med_1"]
    there.media["rec_1", "med_1"] = replace(row, sha256="ff")


def unfinish(there: Evidence) -> None:
    row = there.media["rec_3", "med_3"]
    there.media["rec_3", "med_3"] = replace(row, status="verifying")


def keep_other_bytes(there: Evidence) -> None:
    """Somebody else's bytes, in agreement of row and object, of a media that nobody promised."""
    row = there.media["rec_4", "med_4"]
    there.media["rec_4", "med_4"] = replace(row, sha256="ee")
    there.object_hashes[OTHER] = "ee"


@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        (keep_other_bytes, {"not-what-was-put"}),
        (lambda there: there.media.pop(("rec_5", "med_5")), {"put-forgotten"}),
        (lose_object, {"promise-not-served", "row-without-object"}),
        (lose_rows, {"recording-lost", "promise-not-served", "row-disagrees", "put-forgotten"}),
        (change_bytes, {"promise-not-served", "object-differs"}),
        (change_row, {"row-disagrees", "object-differs", "not-what-was-put"}),
        (unfinish, {"verification-unfinished"}),
        (lambda there: there.served.clear(), {"promise-not-served"}),
        (lambda there: there.recordings.update(rec_1="pending"), {"recording-not-uploaded", "event-surplus"}),
        (lambda there: there.objects.update({"media/x": 1}), {"object-without-row"}),
        (lambda there: there.objects.update({"staging/x": 1}), {"object-without-row"}),
        (lambda there: there.events.append(("recording.uploaded", "rec_1")), {"event-surplus"}),
        (lambda there: there.events.append(("recording.uploaded", "rec_3")), {"event-surplus"}),
        (lambda there: there.events.append(("recording.deleted", "rec_2")), {"event-surplus"}),
        (lambda there: there.events.append(("recording.created", "rec_2")), {"event-of-deleted"}),
        (lambda there: there.events.remove(("recording.uploaded", "rec_1")), {"event-missing"}),
        (lambda there: there.events.remove(("recording.deleted", "rec_2")), {"event-missing"}),
        (lambda there: there.recordings.update(rec_2="pending"), {"deleted-row-there", "half-deleted"}),
        (lambda there: there.answers_of_deleted.update(rec_2=200), {"deleted-still-answers"}),
        (lambda there: there.tombstones.clear(), {"tombstone-missing"}),
        (lambda there: there.erasures.clear(), {"ledger-entry-missing"}),
        (lambda there: there.erasures.update(rec_2="open"), {"ledger-entry-open"}),
        (lambda there: there.scratch.append("1-deadbeef/x/audio"), {"audio-in-scratch"}),
        (lambda there: there.copies.append("rec_2"), {"copy-not-forgotten"}),
        (lambda there: there.jobs.append(("recordings.verify-upload", "failed")), {"job-left"}),
    ],
)
def test_every_fault_is_found(told: Told, fault: Callable[[Evidence], None], kinds: set[str]) -> None:
    there = sound()
    fault(there)
    found = {finding.kind for finding in judge(told, there)}
    assert kinds <= found
    assert found <= kinds | {"event-missing", "event-surplus"}, "this has nothing to do with the fault"


def test_what_the_client_was_surprised_by_is_found(told: Told) -> None:
    told.surprises.append(Surprise("POST …/upload-complete", "500"))
    told.contradictions.append("med_1")
    assert judge(told, sound()) == [
        Finding("promise-changed", "med_1"),
        Finding("surprising-answer", "POST …/upload-complete", "500"),
    ]


def test_what_the_store_took_is_compared(told: Told) -> None:
    told.puts["rec_3", "med_3"] = {(1, "ab")}
    told.puts["rec_1", "med_1"] = {(3, "ba")}
    assert judge(told, sound()) == [
        Finding("not-what-was-put", "med_1", ANY),
        Finding("promise-of-other-bytes", "med_1"),
        Finding("put-left-waiting", "med_3", "pending"),
    ]


def test_a_journal_that_promises_two_things_of_one_media_contradicts_itself(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    journal = Journal(tmp_path_factory.mktemp("journal") / "journal.jsonl")
    journal.write(PROMISE)
    journal.write(PROMISE)
    journal.write(Promised("rec_1", "med_1", "audio/opus", 4, "ee"))
    journal.close()
    assert read(journal.path).contradictions == ["med_1"]
