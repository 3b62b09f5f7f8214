"""The journal of each device's requests and the server's promises: JSON lines, append-only.

The line about a new recording or command is written **before** the request. The line about a promise is
written after the answer, because a promise counts only if the device has received it. Heartbeats are counted,
and have no lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import msgspec


class Announcing(msgspec.Struct, frozen=True, tag=True):
    """The device is about to announce a recording.

    `uuid`: its `recording_uuid`; or its `metadata.started_at`, by which an encrypted one is known before it
    has a session.
    """

    device: int
    uuid: str


class Promised(msgspec.Struct, frozen=True, tag=True):
    """upload-complete was answered 200, or a receipt was verified: the server keeps this media.

    `media_id`: None if it is the recording's only one. `sha256`, `size`: of the plain audio, in bytes.
    """

    device: int
    uuid: str
    recording_id: str
    media_id: str | None
    sha256: str
    size: int


class Commanding(msgspec.Struct, frozen=True, tag=True):
    """The backend is about to send a command."""

    device: int
    key: str


class Commanded(msgspec.Struct, frozen=True, tag=True):
    """The backend's request was answered 200 or 201: the command exists."""

    device: int
    key: str
    command_id: str


class Executed(msgspec.Struct, frozen=True, tag=True):
    """The device executed a command."""

    device: int
    command_id: str


class Acknowledged(msgspec.Struct, frozen=True, tag=True):
    """The device's ack was answered 200: the server has stored how the command ended."""

    device: int
    command_id: str
    status: str


class Offered(msgspec.Struct, frozen=True, tag=True):
    """The backend has offered firmware to the device."""

    device: int
    assignment_id: str


class Updated(msgspec.Struct, frozen=True, tag=True):
    """A heartbeat that reported the offered version was answered 200."""

    device: int
    assignment_id: str


class UpdateFailed(msgspec.Struct, frozen=True, tag=True):
    """A heartbeat that reported a failed update was answered 200."""

    device: int
    assignment_id: str


class Violation(msgspec.Struct, frozen=True, tag=True):
    """An answer that breaks the contract; the device or the backend noticed it at once."""

    device: int
    kind: str
    detail: str


Entry: TypeAlias = (
    Announcing
    | Promised
    | Commanding
    | Commanded
    | Executed
    | Acknowledged
    | Offered
    | Updated
    | UpdateFailed
    | Violation
)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


class Journal:
    """The journals of all devices in one file. They are not kept in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")

    def write(self, entry: Entry) -> None:
        """Append one line."""
        self._file.write(_encode(entry) + b"\n")

    def close(self) -> None:
        """Closes the file for writing; `read` still works."""
        self._file.close()

    def read(self) -> Iterator[Entry]:
        """All entries so far, in the order of writing."""
        if not self._file.closed:
            self._file.flush()
        with self._path.open("rb") as lines:
            for line in lines:
                yield _decode(line)
