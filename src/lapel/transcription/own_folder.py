"""A folder for this process alone, of which nothing stays, however the process ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_TRIES = 100
_HELD = "held"
# Others may keep files in the same place.
_NAME = re.compile(r"[0-9]+-[0-9a-f]{8,32}")


class OwnFolder:
    """`path` lies in `root`, held by a lock that ends with this process.

    Each one empties what killed processes left in `root`; the empty folders are named by `left`, until
    `forget_left` removes them. Raises PermissionError when `root` is another user's, and other OSErrors.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / f"{os.getpid()}-{secrets.token_hex(16)}"
        self.left: set[str] = set()
        self._held: BinaryIO | None = None
        self.hold()

    def hold(self) -> None:
        """Once more, after somebody has removed it or only its lock: what is in it, and used, stays."""
        for left in reversed(range(_TRIES)):
            try:
                held = self._take()
            except (FileNotFoundError, FileExistsError):  # the last user of the root was just removing it
                if not left:
                    raise
            else:
                self._let_go()
                self._held = held
                return

    @property
    def is_held(self) -> bool:
        """False once somebody has removed it, as systems do with temporary files of some age."""
        return (self.path / _HELD).exists()

    def sweep(self) -> None:
        """Empty what killed processes have left since."""
        with contextlib.suppress(OSError), _gate(self.path.parent):
            self._empty_left()

    def forget_left(self) -> None:
        """Remove the emptied folders of killed processes, too."""
        while self.left:
            _remove_unless_held(self.path.parent / self.left.pop())

    def close(self, *, leave: bool = False) -> None:
        """Remove it, and `root` when nobody else is in it. `leave`: what is left looks like a killed
        process's, for the next one to find."""
        for each in self.path.iterdir() if self.path.exists() else ():
            if each.name != _HELD:
                remove(each)
        if not leave:
            shutil.rmtree(self.path, ignore_errors=True)
        self._let_go()
        with contextlib.suppress(OSError), _gate(self.path.parent):  # others are in it
            self.path.parent.rmdir()

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def _take(self) -> BinaryIO:
        root = self.path.parent
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A link to it must be ours, too: where everybody may write, another user may make one first.
        if {root.lstat().st_uid, root.stat().st_uid} != {os.getuid()}:
            raise PermissionError(f"{root} is somebody else's")
        with _gate(root):  # or a folder that is just being made would look left behind
            self._empty_left()
            self.path.mkdir(mode=0o700, exist_ok=True)
            held = private_file(self.path / _HELD)
            fcntl.flock(held, fcntl.LOCK_EX)
        return held

    def _empty_left(self) -> None:
        for each in self.path.parent.iterdir():
            if each != self.path and _NAME.fullmatch(each.name) and _emptied(each):
                self.left.add(each.name)


def private_file(path: Path) -> BinaryIO:
    """A file to write that nobody but this user can read."""
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")  # noqa: PTH123 - a descriptor


def _emptied(folder: Path) -> bool:
    """Whether its maker is gone, and now also what was in it: nobody holds the lock, or that was removed
    before the rest was."""
    with contextlib.suppress(OSError), _unheld(folder):
        for each in folder.iterdir():
            if each.name != _HELD:
                remove(each)
        return True
    return False


def _remove_unless_held(folder: Path) -> None:
    with contextlib.suppress(OSError), _unheld(folder):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _unheld(folder: Path) -> Generator[None]:
    """Raises BlockingIOError while its maker lives, NotADirectoryError or FileNotFoundError for no folder."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError):
            held = stack.enter_context((folder / _HELD).open("rb"))
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def remove(path: Path) -> None:
    """Remove a file or a folder, also when another thread is just removing it. Raises OSError."""
    while path.is_dir() and not path.is_symlink():
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)
    path.unlink(missing_ok=True)


@contextmanager
def _gate(root: Path) -> Generator[None]:
    """One process at a time. Raises FileNotFoundError when it was removed while we waited."""
    gate = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if not os.path.samestat(os.fstat(gate), root.stat()):  # another one of that name is not held by this
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(root))
        yield
    finally:
        os.close(gate)
