"""Making file-system changes survive a power cut."""

import fcntl
import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path


def sync_file(fd: int) -> None:
    """Have the file's bytes on the disk, not just on their way to it."""
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync there stops at the drive's cache
    else:
        os.fsync(fd)


def sync_folder(folder: Path) -> None:
    """Have the folder's entries (created, renamed, removed) on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_file(fd)
    finally:
        os.close(fd)


def make_folders(folder: Path) -> None:
    """Create a folder and what is missing above it, durably.

    Raises `FileNotFoundError` when an ancestor keeps being pruned by others meanwhile.
    """
    missing = [folder]
    for _ in range(4 * len(folder.parts)):
        current = missing[-1]
        try:
            current.mkdir(mode=0o700)
            sync_folder(current.parent)
        except FileExistsError:
            pass
        except FileNotFoundError:
            missing.append(current.parent)
            continue
        missing.pop()
        if not missing:
            return
    raise FileNotFoundError(folder)


def prune_folders(folder: Path, top: Path) -> None:
    """Remove `folder` and the ones above it, below `top`, as long as they are empty; sync what remains."""
    while folder != top:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:  # not empty: the usual end
            with suppress(FileNotFoundError):  # pruned by another process, which then syncs what it left
                sync_folder(folder)
                return
        folder = folder.parent
    sync_folder(top)


def replace_file(path: Path, content: bytes) -> None:
    """Write a small file so that readers see the old content or the new, also after a power cut."""
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
