"""A real backup, deletions, a real restore, and the command that deletes again."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lapel import app
from lapel.cli.shared.installation import with_ports
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.settings import Settings
from lapel.slices.recordings.service import ErasedKind, Recordings
from lapel.slices.retention.service import Retention
from tests.cli.test_backup import complete_upload, start_upload
from tests.support.installation import Installation
from tests.support.plain_http import http
from tests.support.serving import eventually, run, serving, told

GONE, WITH_PERSON, KEPT, OLD = [
    f"the audio of {each}".encode() for each in ("gone", "with person", "kept", "an old one")
]


def end_user_of(url: str, auth: dict[str, str], recording_id: str) -> str:
    """The end user of a recording."""
    return http.get(f"{url}/v1/recordings/{recording_id}", headers=auth).json()["end_user_id"]


def files_of(data: Path, content: bytes) -> list[Path]:
    """The objects of a data folder that hold these bytes."""
    files = [each for each in (data / "objects").rglob("*") if each.is_file()]
    return [each for each in files if content in each.read_bytes()]


def erase_old_audio(data: Path) -> None:
    """A run of retention, 30 days from now, beside the running server, whose worker erases the objects."""

    async def run(ports: Ports) -> dict[ErasedKind, int]:
        in_time = replace(ports, clock=ManualClock(ports.clock.now() + timedelta(days=30)))
        return await Retention(in_time, app.open_services(in_time)[Recordings]).run()

    settings = Settings.load(data_dir=data, role="all")
    assert with_ports(settings, run, store=True) == {"recording": 0, "audio": 1}


@pytest.mark.deep
def test_what_was_erased_after_the_backup_is_erased_again_after_the_restore(
    installation: Installation, tmp_path: Path
) -> None:
    data, copy, ledger = tmp_path / "data", tmp_path / "copy", tmp_path / "erased.ndjson"
    key = installation.copy(data)
    with serving(data) as server:
        auth = {"authorization": f"Bearer {key}"}
        contents = GONE, WITH_PERSON, KEPT, OLD
        started = [start_upload(server.url, key, each) for each in contents]
        gone, with_person, kept, old = [each.recording for each in started]
        for each in (gone, with_person, kept, old):
            complete_upload(server.url, key, each)
        person = end_user_of(server.url, auth, with_person)
        scopes = {"scopes": ["recordings:read"]}
        revoked = http.post(f"{server.url}/v1/api-keys", json=scopes, headers=auth).json()
        told("backup", copy, "--data-dir", data)
        path = f"{server.url}/v1/api-keys/{revoked['id']}"
        assert http.delete(path, headers=auth).status_code == 204
        for path in (f"recordings/{gone}", f"end-users/{person}"):
            assert http.delete(f"{server.url}/v1/{path}", headers=auth).status_code == 204
        answer = http.post(f"{server.url}/v1/recordings/{kept}/hold", json={"reason": "a case"}, headers=auth)
        hold_id = answer.json()["id"]
        rule = f"{server.url}/v1/end-users/{end_user_of(server.url, auth, old)}/config/retention"
        assert http.patch(rule, json={"audio_days": 1}, headers=auth).status_code == 200
        erase_old_audio(data)
        eventually(lambda: not files_of(data, OLD))
    restored = tmp_path / "restored"
    done = run("restore", copy, "--data-dir", restored)
    assert done.returncode == 0, done.stderr
    assert "lapel erase --reconcile --from FILE" in done.stderr
    assert "2 keys work." in done.stderr
    assert "compare `lapel keys list`" in done.stderr
    assert files_of(restored, GONE)
    assert files_of(restored, WITH_PERSON)
    assert files_of(restored, OLD)

    # The bucket is as old as the database: it tells of nothing, and the command says so.
    done = run("erase", "--reconcile", "--dry-run", "--data-dir", restored)
    assert (done.returncode, done.stdout[:2]) == (0, "0 ")
    assert "the bucket tells of no erasure and no hold" in done.stderr
    assert "add `--from FILE`" in done.stderr
    # The old data folder still tells of it, with its server stopped.
    assert told("erase", "--export", ledger, "--data-dir", data)["lines"] >= 3
    assert ledger.stat().st_mode & 0o777 == 0o600
    others = (tmp_path / "notes.txt", tmp_path / "pipe", tmp_path / "link")
    others[0].write_text("no ledger\n")
    os.mkfifo(others[1])
    others[2].symlink_to(ledger)
    for each in others:
        done = run("erase", "--export", each, "--data-dir", data)
        assert (done.returncode, "name a new file" in done.stderr) == (1, True), each
    assert others[0].read_text() == "no ledger\n"
    assert (others[1].is_fifo(), others[2].is_symlink()) == (True, True)
    assert told("erase", "--export", ledger, "--data-dir", data)["lines"] >= 3, (
        "an earlier ledger is replaced"
    )

    again = ("erase", "--reconcile", "--from", ledger, "--data-dir", restored)
    seen = told(*again, "--dry-run")
    found = {"recordings": 1, "end_users": 1, "audio": 1, "holds": 1, "keys": 1}
    assert {**seen, **found, "erased": 0} == seen
    assert files_of(restored, GONE)
    seen = told(*again)
    assert {**seen, **found, "erased": 3, "open": 0} == seen
    assert [files_of(restored, each) for each in (GONE, WITH_PERSON, OLD)] == [[], [], []]
    assert files_of(restored, KEPT)
    seen = told(*again)
    assert {**seen, "recordings": 0, "end_users": 0, "audio": 0, "holds": 0, "erased": 0} == seen
    assert seen["keys"] == 0
    with serving(restored) as server:
        again = http.get(f"{server.url}/v1/whoami", headers={"authorization": f"Bearer {revoked['key']}"})
        assert again.status_code == 401
        where = f"{server.url}/v1/recordings"
        assert [each["id"] for each in http.get(where, headers=auth).json()["data"]] == [old, kept]
        held = http.get(f"{server.url}/v1/holds?active=true", headers=auth).json()["data"]
        assert [(each["id"], each["resource_id"]) for each in held] == [(hold_id, kept)]
        entries = http.get(f"{server.url}/v1/erasures", headers=auth).json()["data"]
        assert {each["resource_id"] for each in entries} == {gone, with_person, person, started[3].media}


def test_flags_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    for flags in (
        (),
        ("--reconcile", "--export", "x"),
        ("--export", "x", "--dry-run"),
        ("rec_1", "--reconcile"),
        ("rec_1", "--dry-run"),
        ("--yes", "--reconcile"),
    ):
        done = run("erase", *flags, "--data-dir", tmp_path / "none")
        assert done.returncode == 1
        assert "--reconcile" in done.stderr or "--yes belongs" in done.stderr


def test_a_recording_and_an_end_user_are_erased_by_id(installation: Installation, tmp_path: Path) -> None:
    data = tmp_path / "data"
    key = installation.copy(data)
    with serving(data) as server:
        auth = {"authorization": f"Bearer {key}"}
        gone, with_person, kept = [
            start_upload(server.url, key, each).recording for each in (GONE, WITH_PERSON, KEPT)
        ]
        for each in (gone, with_person, kept):
            complete_upload(server.url, key, each)
        person = end_user_of(server.url, auth, with_person)
        http.post(f"{server.url}/v1/recordings/{kept}/hold", json={"reason": "a case"}, headers=auth)
        done = run("erase", gone, "--data-dir", data)
        assert done.returncode == 1
        assert "--yes" in done.stderr
        assert files_of(data, GONE)
        assert told("erase", gone, "--yes", "--data-dir", data)["state"] in ("erased", "closed")
        assert http.get(f"{server.url}/v1/recordings/{gone}", headers=auth).status_code == 404
        entries = http.get(f"{server.url}/v1/erasures?resource_id={gone}", headers=auth).json()["data"]
        assert (entries[0]["reason"], entries[0]["requested_by"]["kind"]) == ("request", "operator")
    # With the server stopped, too.
    assert told("erase", person, "--yes", "--data-dir", data)["state"] in ("erased", "closed")
    assert told("erase", kept, "--yes", "--data-dir", data)["state"] == "held"
    assert [bool(files_of(data, each)) for each in (GONE, WITH_PERSON, KEPT)] == [False, False, True]
    for unknown in (gone, person, "rec_x", "../x"):
        done = run("erase", unknown, "--yes", "--data-dir", data)
        assert done.returncode == 1
        assert "there is no recording and no end user" in done.stderr
