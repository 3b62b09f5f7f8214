"""The answers that a client got, in order: JSON lines, append-only.

The client writes a line **after** an answer, except `Deleting`, which it writes before the request: a promise
counts only when the client has received it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import msgspec


class Created(msgspec.Struct, frozen=True, tag=True):
    """201: this recording exists."""

    recording_id: str


class Put(msgspec.Struct, frozen=True, tag=True):
    """200 of a PUT: the store has these bytes."""

    recording_id: str
    media_id: str
    size: int
    sha256: str


class Promised(msgspec.Struct, frozen=True, tag=True):
    """200 of upload-complete: the server keeps this media, with these bytes."""

    recording_id: str
    media_id: str
    content_type: str
    size: int
    sha256: str


class Deleting(msgspec.Struct, frozen=True, tag=True):
    """About to ask for a deletion: from now on the recording may be gone."""

    recording_id: str


class Deleted(msgspec.Struct, frozen=True, tag=True):
    """204, or 404 to a repeat: gone."""

    recording_id: str


class Surprise(msgspec.Struct, frozen=True, tag=True):
    """An answer that the contract does not allow here, or no answer after all repeats."""

    call: str
    answer: str


Entry: TypeAlias = Created | Put | Promised | Deleting | Deleted | Surprise
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Entry)


class Journal:
    """A journal being written. `entries` are those written so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[Entry] = []
        self._file = path.open("ab", buffering=0)

    def write(self, entry: Entry) -> None:
        """Append one line."""
        self._file.write(_encode(entry) + b"\n")
        self.entries.append(entry)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class Told(msgspec.Struct, kw_only=True):
    """A whole journal, as what must be true now."""

    created: set[str] = msgspec.field(default_factory=set[str])
    promised: dict[tuple[str, str], Promised] = msgspec.field(default_factory=dict[tuple[str, str], Promised])
    # By recording and media: (size, SHA-256) of each of its bodies that the store took.
    puts: dict[tuple[str, str], set[tuple[int, str]]] = msgspec.field(
        default_factory=dict[tuple[str, str], set[tuple[int, str]]]
    )
    deleting: set[str] = msgspec.field(default_factory=set[str])
    deleted: set[str] = msgspec.field(default_factory=set[str])
    contradictions: list[str] = msgspec.field(default_factory=list[str])
    surprises: list[Surprise] = msgspec.field(default_factory=list[Surprise])

    @property
    def standing(self) -> list[Promised]:
        """The promises whose recording no client asked to delete."""
        return [each for each in self.promised.values() if each.recording_id not in self.deleting]


def read(path: Path) -> Told:
    """The content of a journal's lines."""
    told = Told()
    for line in path.read_bytes().splitlines():
        match _decoder.decode(line):
            case Created(recording_id):
                told.created.add(recording_id)
            case Promised() as promise:
                key = (promise.recording_id, promise.media_id)
                if told.promised.setdefault(key, promise) != promise:
                    told.contradictions.append(promise.media_id)
            case Deleting(recording_id):
                told.deleting.add(recording_id)
            case Deleted(recording_id):
                told.deleted.add(recording_id)
            case Surprise() as surprise:
                told.surprises.append(surprise)
            case Put(recording_id, media_id, size, sha256):
                told.puts.setdefault((recording_id, media_id), set()).add((size, sha256))
    return told
