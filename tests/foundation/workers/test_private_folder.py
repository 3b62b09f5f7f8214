"""Folders of processes that come, go and are killed: each is removed, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lapel.foundation.workers.private_folder import PrivateFolder


def test_many_processes_that_come_and_go_never_remove_anothers_folder(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from lapel.foundation.workers.private_folder import PrivateFolder\n"
        "for _ in range(200):\n"
        "    own = PrivateFolder(pathlib.Path(sys.argv[1]))\n"
        "    assert own.is_locked\n"
        "    own.forget_left()\n"
        "    own.close()\n"
    )
    root = tmp_path / "scratch"
    started = [subprocess.Popen([sys.executable, "-c", code, str(root)]) for _ in range(4)]
    try:
        assert [each.wait(60) for each in started] == [0] * 4
    finally:
        for each in started:
            each.kill()
    assert not root.exists()


def test_a_link_that_looks_like_a_folder_that_was_left_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "letter").touch()
    root = tmp_path / "scratch"
    root.mkdir()
    link = root / "1-deadbeef"
    link.symlink_to(tmp_path / "theirs")
    own = PrivateFolder(root)
    assert own.left == set()
    own.sweep()
    own.close()
    assert (tmp_path / "theirs" / "letter").exists()
    assert link.is_symlink()


def test_what_one_process_has_inherited_no_other_takes(tmp_path: Path) -> None:
    left = tmp_path / "scratch" / "1-deadbeef" / "place"
    left.mkdir(parents=True)
    (left.parent / "held").touch()
    first = PrivateFolder(tmp_path / "scratch", inherits=True)
    others = [PrivateFolder(tmp_path / "scratch", inherits=each) for each in (True, False)]
    for each in (first, *others):
        each.sweep()
    assert (first.inherited, [each.inherited for each in others]) == ([left], [[], []])
    assert left.exists()
    adopted = first.adopt(left)
    first.empty_inherited()
    assert adopted.exists()
    assert first.left == {"1-deadbeef"}
    assert not left.exists()
    for each in (first, *others):
        each.forget_left()
        each.close()
    assert not (tmp_path / "scratch").exists()
