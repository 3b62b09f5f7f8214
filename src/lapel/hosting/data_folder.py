"""The data folder of one machine: its lock, its version and its secret.

VERSION     schema, PostgreSQL major and layout of the folder
secret      key material of token hashes and sealed values, 0600
secret_previous  the secret before the last change, 0600; only if the operator changed the secret,
                 or restored a backup that had this file
first-key   the first API key, 0600; only if no terminal could show it; the owner deletes it
postgres/   the embedded database
postgres.log  the log of the embedded database
objects/    the embedded store
restoring   exists while a restore into the folder runs
lapel.lock  held by the one process that uses the folder
run.json    how to reach the running server, while it runs

Sources: flock(2), rename(2) and fsync(2) of the Linux man-pages.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import hmac
import os
import secrets
import stat
import time
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import msgspec

from lapel.embedded.postgres.install import MAJOR
from lapel.foundation.database.schema.schema_version import newest_revision

LAYOUT = 1
STORE_KEY_ID = "lapel"
T = TypeVar("T")


# What a folder may hold without an installation. `listen`: what `lapel listen` remembers of other servers.
_NO_INSTALLATION = {"lapel.lock", "listen"}


class DataFolderError(RuntimeError):
    """The data folder cannot be used; the message says why and what to do."""


class Version(msgspec.Struct, frozen=True):
    """Content of VERSION: newest migration, PostgreSQL's major, layout of the folder."""

    schema: str
    postgres: int
    layout: int


class Running(msgspec.Struct, frozen=True):
    """Content of run.json: how to reach the server that runs on the folder."""

    pid: int
    base_url: str
    host: str
    port: int
    tls: bool
    database_url: str | None
    store_endpoint: str | None


class DataFolder:
    """One data folder. `prepare` makes the folder; hold its `lock` while you use it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.objects = path / "objects"
        self.postgres = path / "postgres"
        self._version = path / "VERSION"
        self._secret = path / "secret"
        self._secret_previous = path / "secret_previous"
        self._first_key = path / "first-key"
        self._run = path / "run.json"
        self._restoring = path / "restoring"
        self._lock: int | None = None

    def prepare(self) -> None:
        """Makes the folder (0700) when it is missing.

        Raises DataFolderError when the path is not a folder, cannot be made, or belongs to another user.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise DataFolderError(f"{self.path} is not a folder; choose another with --data-dir.") from None
        except OSError as fault:
            raise DataFolderError(
                f"{self.path} cannot be made ({fault.strerror}); see --data-dir."
            ) from fault
        self.check_owner()

    def check_owner(self) -> None:
        """Raises DataFolderError when the folder belongs to another user; root may use any folder."""
        if self.path.stat().st_uid != os.geteuid() and os.geteuid() != 0:
            raise DataFolderError(
                f"{self.path} belongs to another user; run Lapel as that user, or choose another --data-dir."
            )

    def is_begun(self) -> bool:
        """Whether the folder holds an installation, or the beginning of one."""
        return any(each.exists() for each in (self._version, self._secret, self.postgres, self.objects))

    def lock(self) -> None:
        """Takes the folder's lock for this process until `unlock` or the end of the process.

        Raises DataFolderError when another process holds the lock.
        """
        handle = os.open(self.path / "lapel.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            running = self.running()
            who = f"process {running.pid} at {running.base_url}" if running else "another process"
            raise DataFolderError(
                f"{self.path} is in use by {who}; stop it first, or choose another --data-dir."
            ) from None
        self._lock = handle

    def unlock(self) -> None:
        """Releases the lock, if this process holds it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextlib.contextmanager
    def locked(self, patience: float = 0.0) -> Generator[None]:
        """Holds the lock during the block. Tries for `patience` seconds, so that short commands queue up.

        Raises DataFolderError when another process still holds the lock after that.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                self.lock()
                break
            except DataFolderError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        try:
            yield
        finally:
            self.unlock()

    def is_taken(self) -> bool:
        """Whether another process holds the folder's lock now."""
        if not (self.path / "lapel.lock").exists():  # to take the lock would make the file
            return False
        try:
            with self.locked():
                return False
        except DataFolderError:
            return True

    def version(self) -> Version | None:
        """Content of VERSION; None when the installation was never finished.

        Raises DataFolderError when the file cannot be read.
        """
        return _decoded(self._version, Version)

    def check_restored(self) -> None:
        """Raises DataFolderError when a restore into the folder was broken off."""
        if self._restoring.exists():
            raise DataFolderError(
                f"A restore into {self.path} was broken off. Empty the folder and run `lapel restore` again."
            )

    def check_version(self) -> None:
        """Raises DataFolderError when this version of Lapel must not use the folder.

        The reasons: a newer version wrote the folder, its data is of another PostgreSQL major, a restore into
        it was broken off, or VERSION cannot be read.
        """
        self.check_restored()
        found = self.version()
        if found is None:
            return
        if found.layout > LAYOUT or found.schema > newest_revision():
            raise DataFolderError(
                f"{self.path} was written by a newer Lapel (schema {found.schema}, layout {found.layout}; "
                f"this one knows {newest_revision()}, {LAYOUT}). Use that Lapel, or restore a backup made by "
                "this one with `lapel restore`."
            )
        if found.postgres != MAJOR:
            raise DataFolderError(
                f"{self.path} holds data of PostgreSQL {found.postgres}, and this Lapel runs PostgreSQL "
                f"{MAJOR}. Run `lapel backup DIR` with the Lapel that made it, then `lapel restore DIR` "
                "with this one into an empty folder."
            )

    def needs_migration(self) -> bool:
        """Whether the database may lack a migration that this code has.

        Raises DataFolderError when VERSION cannot be read.
        """
        found = self.version()
        return found is None or found.schema != newest_revision()

    def write_version(self) -> None:
        """Writes VERSION: the folder has this code's schema, PostgreSQL and layout."""
        write_durably(self._version, msgspec.json.encode(Version(newest_revision(), MAJOR, LAYOUT)) + b"\n")

    def secret(self, *, make: bool = True) -> str:
        """The folder's secret; with `make`, the first call makes a secret for a new folder.

        Raises DataFolderError when the secret is damaged, or when it is missing and the folder has a database
        or `make` is false.
        """
        try:
            found = self._secret.read_text().strip()
        except FileNotFoundError:
            if not make or self.postgres.exists():
                raise DataFolderError(
                    f"{self._secret} is missing, and every key of this folder needs it. Put it back "
                    "from a backup, or begin with an empty --data-dir."
                ) from None
            found = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
            write_durably(self._secret, found.encode() + b"\n")
        return _checked_secret(self._secret, found)

    def secret_previous(self) -> str | None:
        """The secret before the last change; None when the folder has none.

        Raises DataFolderError when that secret is damaged.
        """
        try:
            found = self._secret_previous.read_text().strip()
        except FileNotFoundError:
            return None
        return _checked_secret(self._secret_previous, found)

    def put_secrets(self, secret: str, previous: str | None) -> None:
        """Writes the secrets from a backup."""
        write_durably(self._secret, secret.encode() + b"\n")
        if previous is not None:
            write_durably(self._secret_previous, previous.encode() + b"\n")

    def put_first_key(self, key: str) -> Path:
        """Writes the first API key to a file that only the owner can read; returns the file."""
        write_durably(self._first_key, key.encode() + b"\n")
        return self._first_key

    @contextlib.contextmanager
    def restoring(self) -> Generator[None]:
        """Marks the folder as half restored until the block ends without an exception.

        Raises DataFolderError when the folder is not empty.
        """
        if any(entry.name not in _NO_INSTALLATION for entry in self.path.iterdir()):
            raise DataFolderError(f"{self.path} is not empty; restore into a new --data-dir.")
        write_durably(self._restoring, b"")
        yield
        self._restoring.unlink()

    def running(self) -> Running | None:
        """Content of run.json; None when it is missing or cannot be read."""
        with contextlib.suppress(DataFolderError):
            return _decoded(self._run, Running)
        return None

    def write_running(self, running: Running) -> None:
        """Writes run.json, which tells commands how to reach this server."""
        write_durably(self._run, msgspec.json.encode(running) + b"\n")

    def clear_running(self) -> None:
        """Removes run.json: no server can be reached."""
        self._run.unlink(missing_ok=True)


def store_credentials(secret: str) -> tuple[str, str]:
    """Access key id and secret access key of the embedded store, derived from the installation's `secret`."""
    return STORE_KEY_ID, hmac.new(secret.encode(), b"embedded store", hashlib.sha256).hexdigest()


def write_durably(path: Path, content: bytes) -> None:
    """Replaces the file (0600) atomically: after a power cut it holds either the old or the new content.

    `content` goes into a temporary file beside `path`. This file is synced and renamed; then the folder is
    synced.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _checked_secret(path: Path, found: str) -> str:
    """The secret `found` in `path`, checked; also makes the file readable by its owner alone."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)
    if len(found) < 32:
        raise DataFolderError(f"{path} is damaged; put it back from a backup.")
    return found


def _decoded(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, OSError) as fault:
        raise DataFolderError(f"{path} cannot be read ({fault}); put it back from a backup.") from fault
