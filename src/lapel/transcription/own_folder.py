"""A folder for this process alone, of which nothing stays, however the process ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_TRIES = 100


class OwnFolder:
    """`path` lies in `root`, held by a lock that ends with this process.

    Whoever takes one removes what killed processes left in `root`. Raises PermissionError when `root` is
    somebody else's, and other OSErrors.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        for left in reversed(range(_TRIES)):
            try:
                self.path = self._take()
            except (FileNotFoundError, FileExistsError):  # its last user was just removing it
                if not left:
                    raise
            else:
                return

    @property
    def is_there(self) -> bool:
        """False once somebody has removed it, as systems do with temporary files of some age."""
        return (self.path / "held").exists()

    def close(self) -> None:
        """Remove it, and `root` when nobody else is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._held.close()
        with contextlib.suppress(OSError), _gate(self._root):  # others are in it
            self._root.rmdir()

    def _take(self) -> Path:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._root.stat().st_uid != os.getuid():
            raise PermissionError(f"{self._root} is somebody else's")
        with _gate(self._root):  # or a folder that is just being made would look left behind
            for each in self._root.iterdir():
                with contextlib.suppress(OSError), (each / "held").open("rb") as held:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(each, ignore_errors=True)
            path = self._root / f"{os.getpid()}-{secrets.token_hex(4)}"
            path.mkdir(mode=0o700)
            self._held = (path / "held").open("wb")
            fcntl.flock(self._held, fcntl.LOCK_EX)
        return path


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
