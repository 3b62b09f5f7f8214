"""What was acknowledged depends on no entry of a folder that is not on the disk yet."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lapel.embedded.s3.files import durable
from lapel.embedded.s3.files.durable import make_folders, prune_folders, sync_folder


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The inodes that were synced, in order."""
    inodes: list[int] = []
    real = durable.sync_file

    def noted(fd: int) -> None:
        inodes.append(os.fstat(fd).st_ino)
        real(fd)

    monkeypatch.setattr(durable, "sync_file", noted)
    return inodes


def inode(folder: Path) -> int:
    return folder.stat().st_ino


def test_what_is_made_is_synced_once(tmp_path: Path, synced: list[int]) -> None:
    make_folders(tmp_path)
    synced.clear()
    make_folders(tmp_path / "a" / "b")
    assert synced == [inode(tmp_path), inode(tmp_path / "a")]
    synced.clear()
    make_folders(tmp_path / "a" / "b")
    make_folders(tmp_path / "a" / "c")
    assert synced == [inode(tmp_path / "a")]


def test_a_folder_that_another_process_made_first_is_synced_too(tmp_path: Path, synced: list[int]) -> None:
    make_folders(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)  # by a process that has not synced them yet
    synced.clear()
    make_folders(tmp_path / "a" / "b")
    assert sorted(synced) == sorted([inode(tmp_path), inode(tmp_path / "a")])


def test_so_is_one_below_which_a_new_one_is_made(tmp_path: Path, synced: list[int]) -> None:
    make_folders(tmp_path)
    (tmp_path / "a").mkdir()
    synced.clear()
    make_folders(tmp_path / "a" / "b")
    assert sorted(synced) == sorted([inode(tmp_path), inode(tmp_path / "a")])


def test_and_one_in_which_only_a_file_is_put(tmp_path: Path, synced: list[int]) -> None:
    make_folders(tmp_path)
    (tmp_path / "a").mkdir()
    synced.clear()
    sync_folder(tmp_path / "a")
    sync_folder(tmp_path / "a")
    assert synced == [inode(tmp_path / "a"), inode(tmp_path), inode(tmp_path / "a")]


def test_a_folder_that_was_pruned_and_made_again_is_synced_again(tmp_path: Path, synced: list[int]) -> None:
    make_folders(tmp_path / "a")
    prune_folders(tmp_path / "a", tmp_path)
    (tmp_path / "a").mkdir()
    synced.clear()
    make_folders(tmp_path / "a")
    assert synced == [inode(tmp_path)]


@pytest.mark.parametrize("durably", [True, False])
def test_so_is_one_that_another_process_pruned_and_that_has_its_inode_again(
    durably: bool, tmp_path: Path, synced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folders(tmp_path)
    reused = tmp_path / "a"
    make = Path.mkdir

    def made_with_the_known_inode(folder: Path, mode: int) -> None:
        make(folder, mode)
        durable._synced.add(reused, inode(reused))

    monkeypatch.setattr(Path, "mkdir", made_with_the_known_inode)
    synced.clear()
    make_folders(reused, durably=durably)
    sync_folder(reused)
    assert inode(tmp_path) in synced


def test_what_is_remembered_is_bounded(
    tmp_path: Path, synced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "_REMEMBERED", 30)
    monkeypatch.setattr(durable, "_synced", type(durable._synced)())
    make_folders(tmp_path)
    for number in range(40):
        make_folders(tmp_path / str(number))
    synced.clear()
    make_folders(tmp_path / "39")
    assert synced == []
    make_folders(tmp_path / "0")
    assert synced == [inode(tmp_path)]
