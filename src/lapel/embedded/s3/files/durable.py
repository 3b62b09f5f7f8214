"""Making file-system changes survive a power cut.

A folder that already exists may have been made a moment ago by another process that has not synced it yet. So
a process that relies on the folder syncs it too. A process remembers which folders it has synced, so later
calls cost nothing.

Sources: fsync(2) of the Linux man-pages (a new entry also needs a sync of its folder), and F_FULLFSYNC in
fcntl(2) of macOS.
"""

import fcntl
import os
import secrets
import sys
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from threading import Lock

_REMEMBERED = 10_000


class _Synced:
    """Folders whose entry in the folder above is known to be on the disk, by path and inode.

    A changed inode shows that the folder was removed and made again.
    """

    def __init__(self) -> None:
        self._inodes: OrderedDict[Path, int] = OrderedDict()
        self._lock = Lock()

    def knows(self, folder: Path, inode: int) -> bool:
        with self._lock:
            if self._inodes.get(folder) != inode:
                return False
            self._inodes.move_to_end(folder)
            return True

    def add(self, folder: Path, inode: int) -> None:
        with self._lock:
            self._inodes[folder] = inode
            self._inodes.move_to_end(folder)
            if len(self._inodes) > _REMEMBERED:
                self._inodes.popitem(last=False)

    def forget(self, folder: Path) -> None:
        with self._lock:
            self._inodes.pop(folder, None)


_synced = _Synced()


def sync_file(fd: int) -> None:
    """Write the file's bytes to the disk itself; returns when they are there."""
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync there stops at the drive's cache
    else:
        os.fsync(fd)


def sync_folder(folder: Path) -> None:
    """Return once the folder's entries (new, renamed, removed) and those that lead to it are on the disk."""
    _sync_entries(folder)
    _sync_way_to(folder)


def _sync_entries(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_file(fd)
    finally:
        os.close(fd)


def _sync_way_to(folder: Path) -> None:
    """Sync the folders above, up to a folder that is known to be synced."""
    while folder != folder.parent:
        inode = folder.stat().st_ino
        if _synced.knows(folder, inode):
            return
        try:
            _sync_entries(folder.parent)
        except PermissionError:  # a process that may not read a folder has made no entry in it
            return
        _synced.add(folder, inode)
        folder = folder.parent


def make_folders(folder: Path, *, durably: bool = True) -> None:
    """Create a folder and the missing folders above it.

    `durably`: they are on the disk at the end; else the caller must call `sync_folder` later. Raises
    `FileNotFoundError` when other threads or processes remove a folder above again and again.
    """
    missing = [folder]
    for _ in range(4 * len(folder.parts)):
        current = missing[-1]
        try:
            with suppress(FileExistsError):
                current.mkdir(mode=0o700)
                _synced.forget(current)  # it may have the inode of a folder that another process removed
            if durably:
                _sync_way_to(current)
        except FileNotFoundError:
            missing.append(current.parent)
            continue
        missing.pop()
        if not missing:
            return
    raise FileNotFoundError(folder)


def prune_folders(folder: Path, top: Path) -> None:
    """Remove `folder` and the folders above it, as far as they are empty, up to `top`; sync what remains."""
    while folder != top:
        _synced.forget(folder)
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:  # not empty: the usual end
            # FileNotFoundError: another process removed the folder, and then syncs what remains.
            with suppress(FileNotFoundError):
                sync_folder(folder)
                return
        folder = folder.parent
    sync_folder(top)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a small file atomically: readers see the old or the new content, also after a power cut."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            sync_file(fd)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
