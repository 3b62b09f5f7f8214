"""Verification of an upload: copy the object to a key that no link names, and compare size and hash of the
copy.

The hash is SHA-256 (FIPS 180-4).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.storage import object_names
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.parsers import format_limit
from lapel.slices.recordings.content_types import largest

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.ports import Ports
    from lapel.slices.recordings.content_types import MediaType
    from lapel.slices.recordings.uploads.facts import Facts
    from lapel.slices.recordings.uploads.snapshot import Attempt, MediaState, Snapshot

Stage = Literal["complete", "hash"]
_EMPTY = "The object is empty: it has 0 bytes."


@dataclass(frozen=True, slots=True)
class Candidate:
    """A media, and the attempt whose object may complete the media.

    `size` is the present size of the staged object in bytes, and `etag` names its present version. `expected`
    are the facts that the object must match.
    """

    media: MediaState
    attempt: Attempt
    size: int
    expected: tuple[Facts, ...]
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of examining one candidate.

    `key` names the copy (None: no copy was made). `failure` is the reason of a refusal (None: the object is
    good). `size` (bytes) and `sha256` (hexadecimal) are those of the copy in the store. Without a copy,
    `size` is that of the staged object, and `sha256` is empty.
    """

    candidate: Candidate
    key: str | None
    size: int
    sha256: str
    failure: str | None

    @property
    def duration_ms(self) -> int | None:
        """The duration in milliseconds that the client stated, if any."""
        return next(
            (each.duration_ms for each in self.candidate.expected if each.duration_ms is not None), None
        )


class Integrity:
    """Copies staged objects and hashes the copies."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def too_large(self, media_type: MediaType, size: int) -> str | None:
        """The reason to refuse an object of `size` bytes; None when media of this type may be that large."""
        limit = largest(self._ports.settings, media_type)
        if size <= limit:
            return None
        return f"The object has {size} bytes; {media_type} may have {format_limit(limit)}."

    async def examine(self, snapshot: Snapshot, candidate: Candidate, stage: Stage) -> Verdict:
        """Copy one staged object, and compare the copy. An object that is too large is not copied.

        A client may overwrite the staged object at any time. So the hash is that of the copy: the store
        computes it while it copies the version whose size is known, or the copy is read back. Each copy has a
        new key. So concurrent completions share no copy, and each of them can delete its own copies.

        Raises ObjectMissing when the staged object or its copy is gone, and StoreUnavailable when the store
        fails.
        """
        failure = self.too_large(candidate.media.type, candidate.size)
        if candidate.size == 0:
            failure = _EMPTY
        if failure is not None:
            return Verdict(candidate, None, candidate.size, "", failure)
        crash_point(f"{stage}:before-copy")
        store, size = self._ports.store, candidate.size
        key, sha256 = await self._copy(snapshot, candidate)
        crash_point(f"{stage}:copied")
        if sha256 is None:
            size, sha256 = await store.sha256_of(key)
        crash_point(f"{stage}:hashed")
        failure = self.too_large(candidate.media.type, size) or _difference(size, sha256, candidate.expected)
        return Verdict(candidate, key, size, sha256, failure)

    async def _copy(self, snapshot: Snapshot, candidate: Candidate) -> tuple[str, str | None]:
        """Copy the staged object. Returns the key of the copy, and its SHA-256 if the store tells it.

        A copy with a SHA-256 is of the version whose size is known.
        """
        source = candidate.attempt.staging_key
        if candidate.etag is not None:
            key = self._fresh_key(snapshot, candidate)
            # After StoreUnavailable the store may still be making this copy, of another version than the next
            # one. The sweep deletes it.
            with suppress(StoreUnavailable):
                return key, await self._ports.store.copy_hashed(source, key, candidate.etag)
        key = self._fresh_key(snapshot, candidate)
        await self._ports.store.copy(source, key)
        return key, None

    def _fresh_key(self, snapshot: Snapshot, candidate: Candidate) -> str:
        this_try = self._ports.ids.new("att").removeprefix("att_")
        named = object_names.AttemptName(
            snapshot.project_id,
            snapshot.at.recording_id,
            candidate.media.id,
            f"{candidate.attempt.id}-{this_try}",
        )
        return named.final_key(candidate.media.type, candidate.attempt.content_type)


def _difference(size: int, sha256: str, expected: tuple[Facts, ...]) -> str | None:
    if size == 0:  # the staged object may have been replaced meanwhile
        return _EMPTY
    for facts in expected:
        if facts.size is not None and facts.size != size:
            return f"The object has {size} bytes; {facts.size} were announced."
        if facts.sha256 is not None and facts.sha256 != sha256:
            return f"The object's SHA-256 is {sha256}; {facts.sha256} was announced."
    return None


@dataclass(frozen=True, slots=True)
class Verification:
    """The verdicts of one completion, and the time before its first copy."""

    verdicts: tuple[Verdict, ...]
    began_at: datetime

    @property
    def good(self) -> tuple[Verdict, ...]:
        """The verdicts on objects that match what was announced."""
        return tuple(each for each in self.verdicts if each.failure is None)

    @property
    def bad(self) -> tuple[Verdict, ...]:
        """The verdicts on all other objects."""
        return tuple(each for each in self.verdicts if each.failure is not None)
