"""The data folder's files, and the waits between restarts: what needs no process."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from lapel.foundation.database import migrations
from lapel.foundation.database.schema.schema_version import newest_revision
from lapel.hosting.children import LONGEST_DELAY, STABLE, Backoff, Child
from lapel.hosting.data_folder import DataFolder, DataFolderError, store_credentials


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    made = DataFolder(tmp_path / "data")
    made.prepare()
    return made


def test_the_newest_revision_is_alembics_head() -> None:
    assert newest_revision() == migrations.head()


def test_the_secret_is_made_once_and_stays(folder: DataFolder) -> None:
    first = folder.secret()
    assert len(first) >= 32
    assert folder.secret() == first
    assert stat.S_IMODE((folder.path / "secret").stat().st_mode) == 0o600


def test_a_secret_that_others_could_read_is_closed_again(folder: DataFolder) -> None:
    folder.secret()
    (folder.path / "secret").chmod(0o644)
    folder.secret()
    assert stat.S_IMODE((folder.path / "secret").stat().st_mode) == 0o600


def test_a_damaged_secret_is_not_used(folder: DataFolder) -> None:
    (folder.path / "secret").write_text("short\n")
    with pytest.raises(DataFolderError, match="is damaged"):
        folder.secret()


def test_every_installation_has_store_keys_of_its_own() -> None:
    assert store_credentials("a" * 32) == store_credentials("a" * 32)
    assert store_credentials("a" * 32) != store_credentials("b" * 32)
    assert "a" * 32 not in store_credentials("a" * 32)


def test_one_process_at_a_time(folder: DataFolder) -> None:
    other = DataFolder(folder.path)
    with folder.locked():
        assert other.is_taken()
        with pytest.raises(DataFolderError, match="in use by another process"):
            other.lock()
    assert not other.is_taken()


def test_the_version_is_written_and_read_back(folder: DataFolder) -> None:
    assert folder.version() is None
    assert folder.needs_migration()
    folder.write_version()
    assert not folder.needs_migration()
    folder.check_version()
    assert json.loads((folder.path / "VERSION").read_text())["postgres"] == 18


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layout": 2}, "newer Lapel"),
        ({"schema": "9999"}, "newer Lapel"),
        ({"postgres": 19}, "runs PostgreSQL 18"),
        ({"postgres": "x"}, "cannot be read"),
    ],
)
def test_another_version_is_refused(folder: DataFolder, change: dict[str, object], words: str) -> None:
    folder.write_version()
    version = folder.path / "VERSION"
    version.write_text(json.dumps(json.loads(version.read_text()) | change))
    with pytest.raises(DataFolderError, match=words):
        folder.check_version()


def test_a_half_written_file_is_never_seen(folder: DataFolder) -> None:
    folder.write_version()
    assert [each.name for each in folder.path.iterdir()] == ["VERSION"]


def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataFolderError, match=r"not a folder|cannot be made"):
            DataFolder(path).prepare()


def test_a_nonsense_run_file_is_as_good_as_none(folder: DataFolder) -> None:
    (folder.path / "run.json").write_text('{"pid": ')
    assert folder.running() is None


def test_a_restore_needs_an_empty_folder_and_leaves_a_mark_when_it_fails(folder: DataFolder) -> None:
    (folder.path / "listen").mkdir()  # of `lapel listen`, which may have listened to another server
    with pytest.raises(RuntimeError, match="power cut"), folder.restoring():
        raise RuntimeError("power cut")
    with pytest.raises(DataFolderError, match="broken off"):
        folder.check_version()
    with pytest.raises(DataFolderError, match="not empty"), folder.restoring():
        pass


def test_restarts_wait_longer_each_time_and_begin_anew_after_a_stable_life() -> None:
    backoff = Backoff()
    assert [backoff.after(0.0) for _ in range(4)] == [0.1, 0.2, 0.4, 0.8]
    assert max(backoff.after(0.0) for _ in range(100)) == LONGEST_DELAY
    assert backoff.after(STABLE) == 0.1
    assert backoff.failures == 1


def test_a_system_without_room_for_a_process_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/program")
    child = Child("worker", "worker", dict)
    child.start()
    assert child.process is None
    assert child.restart_at is not None
    assert child.ready_fd is None
    assert child.failures == 1
