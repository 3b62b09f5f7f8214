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
# Others may keep files in the same place.
_NAME = re.compile(r"[0-9]+-[0-9a-f]{8}")


class OwnFolder:
    """`path` lies in `root`, held by a lock that ends with this process.

    Whoever takes one removes what killed processes left in `root`. Raises PermissionError when `root` is
    somebody else's, and other OSErrors.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / f"{os.getpid()}-{secrets.token_hex(4)}"
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
        return (self.path / "held").exists()

    def close(self) -> None:
        """Remove it, and `root` when nobody else is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._let_go()
        with contextlib.suppress(OSError), _gate(self.path.parent):  # others are in it
            self.path.parent.rmdir()

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()

    def _take(self) -> BinaryIO:
        root = self.path.parent
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if root.stat().st_uid != os.getuid():
            raise PermissionError(f"{root} is somebody else's")
        with _gate(root):  # or a folder that is just being made would look left behind
            for each in root.iterdir():
                if _NAME.fullmatch(each.name) and each != self.path:
                    _remove_if_left(each)
            self.path.mkdir(mode=0o700, exist_ok=True)
            held = (self.path / "held").open("wb")
            fcntl.flock(held, fcntl.LOCK_EX)
        return held


def _remove_if_left(folder: Path) -> None:
    """Its maker is gone when nobody holds the lock, or when that was removed before the rest was."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError):
            held = stack.enter_context((folder / "held").open("rb"))
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)


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
