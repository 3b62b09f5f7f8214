"""The format of a backup; copies objects from the store into a backup and back.

DIR/backup.json     the manifest; written last, so a folder without it is not a backup
DIR/database.dump   pg_dump's custom format
DIR/objects.jsonl   one line per object: key, size, sha256, content_type
DIR/objects/…       the objects, under their keys
DIR/secret          key material; secret_previous: the key material before its last change

Only the owner may read it: files have mode 0600, folders 0700.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from lapel.cli.shared.bucket import BucketClient, Copied
from lapel.cli.shared.faults import CommandError

T = TypeVar("T")
R = TypeVar("R")
AT_ONCE = 4
# What can be a header: no control characters, and only characters of one byte (RFC 9110, section 5.5).
_CONTENT_TYPE = re.compile(r"[\t -~\x80-\xff]{1,1024}")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_KEY = re.compile(r"[A-Za-z0-9_-]+(?:[/.][A-Za-z0-9_-]+)*")


class ArchiveManifest(msgspec.Struct, frozen=True):
    """Content of backup.json. `created_at`: when the backup began, so it holds nothing that is much newer.
    `erased`: number of objects that were deleted while the backup was made."""

    lapel: str
    schema: str
    created_at: str
    objects: int
    bytes: int
    erased: int


class Entry(msgspec.Struct, frozen=True):
    """One object of a backup: size in bytes, SHA-256 in hexadecimal."""

    key: str
    size: int
    sha256: str
    content_type: str


class Archive:
    """The folder of one backup."""

    def __init__(self, path: Path) -> None:
        """Raises CommandError for an address such as `s3://bucket/backup`, which would become a folder."""
        if _ADDRESS.match(str(path)) is not None:
            raise CommandError(
                f"{str(path).replace(':/', '://', 1)} is an address, but a backup is a folder on this "
                "machine. Name a folder, and copy it to that address when the backup is finished."
            )
        self.path = path.absolute()
        self.dump = self.path / "database.dump"
        self.index = self.path / "objects.jsonl"
        self.promised = self.path / "promised.jsonl"  # only while the backup is made
        self.manifest_file = self.path / "backup.json"

    def object_file(self, key: str) -> Path:
        """The file of an object. Raises CommandError when the key could name a file outside the folder."""
        if _KEY.fullmatch(key) is None:
            raise CommandError(f"{key!r} is not a valid object name; the backup was tampered with.")
        return self.path / "objects" / key

    def begin(self) -> None:
        """Makes the folder and its files. Raises CommandError when the folder is not empty."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(self.path.iterdir()):
            raise CommandError(f"{self.path} is not empty; name a new folder for the backup.")
        self.path.chmod(0o700)
        (self.path / "objects").mkdir(mode=0o700)
        self.dump.touch(0o600)
        self.index.touch(0o600)
        self.promised.touch(0o600)

    def manifest(self) -> ArchiveManifest:
        """Content of backup.json.

        Raises CommandError when the file is damaged or missing (there is no backup, or an unfinished one).
        """
        try:
            return msgspec.json.decode(self.manifest_file.read_bytes(), type=ArchiveManifest)
        except (FileNotFoundError, NotADirectoryError):
            raise CommandError(
                f"{self.path} is not a backup, or the backup was broken off: backup.json is missing."
            ) from None
        except msgspec.DecodeError as fault:
            raise CommandError(f"{self.manifest_file} cannot be read: {fault}.") from None

    def entries(self) -> Iterator[Entry]:
        """Every object of the backup, in the order of objects.jsonl.

        Raises CommandError when the file is missing, or has a line that is damaged or was tampered with.
        """
        decoder = msgspec.json.Decoder(Entry)
        try:
            lines = self.index.open("rb")
        except FileNotFoundError:
            raise CommandError(f"{self.index} is missing from the backup.") from None
        with lines:
            for number, line in enumerate(lines, 1):
                try:
                    entry = decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as fault:
                    raise CommandError(f"line {number} of {self.index} cannot be read: {fault}.") from None
                self.object_file(entry.key)
                if _CONTENT_TYPE.fullmatch(entry.content_type) is None:
                    raise CommandError(
                        f"line {number} of {self.index} has the content type {entry.content_type!r}, which "
                        "no store can have; the backup was tampered with."
                    )
                yield entry

    def put_secret(self, name: str, secret: str | None) -> None:
        """Writes key material to the file `name` with mode 0600; does nothing when `secret` is None."""
        if secret is not None:
            handle = os.open(self.path / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secret + "\n")

    def secret(self) -> str:
        """The key material. Raises CommandError when the backup has none."""
        try:
            return (self.path / "secret").read_text().strip()
        except FileNotFoundError:
            raise CommandError(
                f"{self.path}/secret is missing. The keys in the backup need it: restore that file first."
            ) from None

    def secret_previous(self) -> str | None:
        """The key material before its last change; None when the backup has none."""
        try:
            return (self.path / "secret_previous").read_text().strip()
        except FileNotFoundError:
            return None

    def save(self, client: BucketClient, key: str) -> Entry | None:
        """Copies one object into the backup; None when the store does not have it.

        Raises CommandError when the key is not a valid name, the store refuses, or the connection breaks off.
        """
        file = self.object_file(key)
        # `parents=True` would make the folders above with the usual mode.
        for folder in reversed([each for each in file.parents if each.is_relative_to(self.path)]):
            folder.mkdir(mode=0o700, exist_ok=True)
        file.touch(0o600)
        copied = client.download(key, file)
        if copied is None:
            file.unlink(missing_ok=True)
            return None
        return Entry(key, copied.size, copied.sha256, copied.content_type)

    def load(self, client: BucketClient, entry: Entry) -> None:
        """Copies one object back into the store, which checks the object's SHA-256.

        Raises CommandError when the file is missing or damaged, or when the store refuses the object.
        """
        file = self.object_file(entry.key)
        try:
            with file.open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
        except FileNotFoundError:
            raise CommandError(f"{file} is missing from the backup.") from None
        if found != entry.sha256:
            raise CommandError(f"{file} is damaged: its SHA-256 is {found}, not {entry.sha256}.")
        client.upload(entry.key, file, Copied(entry.size, entry.sha256, entry.content_type))


def in_parallel(call: Callable[[T], R], work: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Yields each piece of `work` with the result of `call`, in the order of `work`.

    AT_ONCE calls run in parallel, and at most 2 * AT_ONCE pieces are in memory. Raises what `call` raises.
    """
    waiting: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for piece in work:
                waiting.append((piece, pool.submit(call, piece)))
                if len(waiting) >= 2 * AT_ONCE:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
