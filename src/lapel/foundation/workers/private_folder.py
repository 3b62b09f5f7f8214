"""A private folder of this process. The process removes it at its end; after a kill, the next process does.

Source: flock(2) of the Linux man-pages.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_TRIES = 100
_HELD = "held"
# Only folders with such a name are emptied, because other programs may keep files in the same place.
_NAME = re.compile(r"[0-9]+-[0-9a-f]{8,32}")


class PrivateFolder:
    """A folder `path` in `root`, held by a lock (`flock`) that ends with this process.

    A new PrivateFolder also empties the folders that killed processes left in `root`. `left` has the names of
    these folders until `forget_left` removes the folders.

    `inherits`: the folders of killed processes are not emptied at once, but locked, so that no other process
    takes them. The caller may `adopt` what is in them, and then calls `empty_inherited`.

    Raises PermissionError when `root` belongs to another user, and other OSErrors when a folder cannot be
    made.
    """

    def __init__(self, root: Path, *, inherits: bool = False) -> None:
        self.path = root / f"{os.getpid()}-{secrets.token_hex(16)}"
        self.left: set[str] = set()
        self._held: BinaryIO | None = None
        self._inherits = inherits
        # The open lock files of folders that killed processes left, by the names of the folders.
        self._inherited: dict[str, BinaryIO] = {}
        self.lock()

    def lock(self) -> None:
        """Make and lock the folder again after the folder or its lock file was removed; other content stays.

        Raises PermissionError, OSError as the class does.
        """
        for left in reversed(range(_TRIES)):
            try:
                held = self._take()
            except (FileNotFoundError, FileExistsError):  # another process was removing the root
                if not left:
                    raise
            else:
                self._let_go()
                self._held = held
                return

    @property
    def is_locked(self) -> bool:
        """False once its lock file was removed, for example by a system that removes old temporary files."""
        return (self.path / _HELD).exists()

    def sweep(self) -> None:
        """Empty the folders that killed processes have left since, or lock them if this folder `inherits`.

        Ignores errors of the disk.
        """
        with contextlib.suppress(OSError), _gate(self.path.parent):
            self._empty_left()

    @property
    def inherited(self) -> list[Path]:
        """What is in the locked folders of killed processes."""
        return [each for name in self._inherited for each in _content(self.path.parent / name)]

    def adopt(self, inherited: Path) -> Path:
        """Move something inherited into this folder, under a new name. Raises OSError when that fails."""
        return inherited.rename(self.path / secrets.token_hex(8))

    def empty_inherited(self) -> None:
        """Empty the locked folders of killed processes, and unlock them. Ignores errors of the disk."""
        while self._inherited:
            name, held = self._inherited.popitem()
            with held, contextlib.suppress(OSError):
                for each in _content(self.path.parent / name):
                    remove(each)
                self.left.add(name)

    def forget_left(self) -> None:
        """Remove the emptied folders in `left`."""
        while self.left:
            _remove_unless_held(self.path.parent / self.left.pop())

    def close(self, *, leave: bool = False) -> None:
        """Remove the folder; then remove `root` if that is empty.

        `leave`: only empty the folder, so that the next process finds it like the folder of a killed process.
        Raises OSError when the content cannot be removed.
        """
        for each in _content(self.path):
            remove(each)
        if not leave:
            shutil.rmtree(self.path, ignore_errors=True)
        self._let_go()
        with contextlib.suppress(OSError), _gate(self.path.parent):  # it may have other folders in it
            self.path.parent.rmdir()

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def _take(self) -> BinaryIO:
        root = self.path.parent
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # If `root` is a link, the link must be ours too: in a folder where all users may write, another user
        # may make the link first.
        if {root.lstat().st_uid, root.stat().st_uid} != {os.getuid()}:
            raise PermissionError(f"{root} belongs to another user")
        with _gate(root):  # otherwise a folder that is being made would look left behind
            self._empty_left()
            self.path.mkdir(mode=0o700, exist_ok=True)
            held = private_file(self.path / _HELD)
            fcntl.flock(held, fcntl.LOCK_EX)
        return held

    def _empty_left(self) -> None:
        for each in self.path.parent.iterdir():
            if each == self.path or each.name in self._inherited or not _may_be_left(each):
                continue
            held = _hold(each) if self._inherits else None
            if held is not None:
                self._inherited[each.name] = held
            elif _emptied(each):
                self.left.add(each.name)


def private_file(path: Path) -> BinaryIO:
    """A file that only this user can read, emptied and opened for writing. Raises OSError when that fails."""
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")  # noqa: PTH123 - a descriptor


def _content(folder: Path) -> list[Path]:
    """What is in a private folder, but for its lock. Empty when the folder is gone."""
    try:
        return [each for each in folder.iterdir() if each.name != _HELD]
    except FileNotFoundError:
        return []


def _may_be_left(path: Path) -> bool:
    """Whether this is a private folder of some process, and no folder or link of another user."""
    if not _NAME.fullmatch(path.name):
        return False
    with contextlib.suppress(OSError):
        about = path.lstat()
        return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()
    return False


def _hold(folder: Path) -> BinaryIO | None:
    """The locked lock file of a folder whose process has ended; None if the process lives, or if the lock
    file was removed."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        held = stack.enter_context((folder / _HELD).open("rb"))
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stack.pop_all()
        return held
    return None


def _emptied(folder: Path) -> bool:
    """Empty a folder if its process has ended. Returns whether it is empty now.

    The process has ended if its lock is free, or if the lock file was removed before the rest.
    """
    with contextlib.suppress(OSError), _unheld(folder):
        for each in _content(folder):
            remove(each)
        return True
    return False


def _remove_unless_held(folder: Path) -> None:
    with contextlib.suppress(OSError), _unheld(folder):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _unheld(folder: Path) -> Generator[None]:
    """Hold the lock of a folder whose process has ended.

    Raises BlockingIOError while the process lives, and NotADirectoryError when `folder` is a file.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError):
            held = stack.enter_context((folder / _HELD).open("rb"))
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def remove(path: Path) -> None:
    """Remove a file or a folder, also while another thread removes it. Raises OSError when that fails."""
    while path.is_dir() and not path.is_symlink():
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)
    path.unlink(missing_ok=True)


@contextmanager
def _gate(root: Path) -> Generator[None]:
    """Lock `root` for one process at a time. Raises FileNotFoundError if `root` was removed meanwhile."""
    gate = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if not os.path.samestat(os.fstat(gate), root.stat()):  # a new folder of that name is not locked by us
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(root))
        yield
    finally:
        os.close(gate)
