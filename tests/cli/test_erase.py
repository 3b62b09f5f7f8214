"""A real backup, deletions, a real restore, and the command that deletes again."""

from __future__ import annotations

from pathlib import Path

from tests.cli.test_backup import complete_upload, start_upload
from tests.support.plain_http import http
from tests.support.serving import run, serving, told

GONE, WITH_PERSON, KEPT = [f"the audio of {each}".encode() for each in ("gone", "with person", "kept")]


def files_of(data: Path, content: bytes) -> list[Path]:
    """The objects of a data folder that hold these bytes."""
    files = [each for each in (data / "objects").rglob("*") if each.is_file()]
    return [each for each in files if content in each.read_bytes()]


def test_what_was_erased_after_the_backup_is_erased_again_after_the_restore(tmp_path: Path) -> None:
    data, copy, ledger = tmp_path / "data", tmp_path / "copy", tmp_path / "erased.ndjson"
    with serving(data) as server:
        key = server.told["key"]
        auth = {"authorization": f"Bearer {key}"}
        contents = GONE, WITH_PERSON, KEPT
        gone, with_person, kept = [start_upload(server.url, key, each).recording for each in contents]
        for each in (gone, with_person, kept):
            complete_upload(server.url, key, each)
        where = f"{server.url}/v1/recordings"
        person = http.get(f"{where}/{with_person}", headers=auth).json()["end_user_id"]
        told("backup", copy, "--data-dir", data)
        for path in (f"recordings/{gone}", f"end-users/{person}"):
            assert http.delete(f"{server.url}/v1/{path}", headers=auth).status_code == 204
        assert told("erase", "--export", ledger, "--data-dir", data)["lines"] >= 2
    restored = tmp_path / "restored"
    done = run("restore", copy, "--data-dir", restored)
    assert done.returncode == 0, done.stderr
    assert "lapel erase --reconcile" in done.stderr
    assert files_of(restored, GONE)
    assert files_of(restored, WITH_PERSON)

    again = ("erase", "--reconcile", "--from", ledger, "--data-dir", restored)
    seen = told(*again, "--dry-run")
    assert (seen["recordings"], seen["end_users"], seen["erased"]) == (1, 1, 0)
    assert files_of(restored, GONE)
    seen = told(*again)
    assert (seen["recordings"], seen["end_users"], seen["erased"], seen["open"]) == (1, 1, 2, 0)
    assert [files_of(restored, each) for each in (GONE, WITH_PERSON)] == [[], []]
    assert files_of(restored, KEPT)
    seen = told(*again)
    assert (seen["recordings"], seen["end_users"], seen["erased"]) == (0, 0, 0)
    with serving(restored) as server:
        where = f"{server.url}/v1/recordings"
        assert [each["id"] for each in http.get(where, headers=auth).json()["data"]] == [kept]
        entries = http.get(f"{server.url}/v1/erasures", headers=auth).json()["data"]
        assert {each["resource_id"] for each in entries} == {gone, with_person, person}


def test_flags_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    for flags in ((), ("--reconcile", "--export", "x"), ("--export", "x", "--dry-run")):
        done = run("erase", *flags, "--data-dir", tmp_path / "none")
        assert done.returncode == 1
        assert "--reconcile" in done.stderr
