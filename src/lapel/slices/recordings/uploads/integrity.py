"""Verification of an upload: copy the object to a key that no link names, read it back, compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.storage import object_names
from lapel.slices.recordings.content_types import largest

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.ports import Ports
    from lapel.slices.recordings.content_types import MediaType
    from lapel.slices.recordings.uploads.facts import Facts
    from lapel.slices.recordings.uploads.snapshot import Attempt, MediaState, Snapshot

Stage = Literal["complete", "hash"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One media to be completed with the object of one of its attempts.

    `size` is the present size of the staged object in bytes; `expected` are the facts that it must match.
    """

    media: MediaState
    attempt: Attempt
    size: int
    expected: tuple[Facts, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of examining one take.

    `key` is the copy's, None when none was made; `failure` says why the object is refused, None when it is
    good. Size (bytes) and SHA-256 (hexadecimal) are those of the copy, read back from the store.
    """

    take: Candidate
    key: str | None
    size: int
    sha256: str
    failure: str | None

    @property
    def duration_ms(self) -> int | None:
        """The duration in milliseconds that the client stated, if any."""
        return next((each.duration_ms for each in self.take.expected if each.duration_ms is not None), None)


class Integrity:
    """Copies staged objects and hashes the copies."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def too_large(self, media_type: MediaType, size: int) -> str | None:
        """Why an object of `size` bytes is too large for its type; None when it is not."""
        limit = largest(self._ports.settings, media_type)
        return None if size <= limit else f"The object has {size} bytes; {media_type} may have {limit}."

    async def examine(self, snapshot: Snapshot, take: Candidate, stage: Stage) -> Verdict:
        """Copy one staged object, read the copy back, compare. A too large object is refused without a copy.

        A client may overwrite the staged object at any time, so size and hash are taken from the copy. Each
        copy has a new key, so concurrent completions never share one and each can delete its own.

        Raises ObjectMissing when the staged object or its copy is gone, StoreUnavailable when the store is
        away.
        """
        failure = self.too_large(take.media.type, take.size)
        if failure is not None:
            return Verdict(take, None, take.size, "", failure)
        key = self._fresh_key(snapshot, take)
        crash_point(f"{stage}:before-copy")
        await self._ports.store.copy(take.attempt.staging_key, key)
        crash_point(f"{stage}:copied")
        size, sha256 = await self._ports.store.sha256_of(key)
        crash_point(f"{stage}:hashed")
        failure = self.too_large(take.media.type, size) or _difference(size, sha256, take.expected)
        return Verdict(take, key, size, sha256, failure)

    def _fresh_key(self, snapshot: Snapshot, take: Candidate) -> str:
        this_try = self._ports.ids.new("att").removeprefix("att_")
        named = object_names.AttemptName(
            snapshot.project_id,
            snapshot.at.recording_id,
            take.media.id,
            f"{take.attempt.id}-{this_try}",
        )
        return named.final_key(take.media.type, take.attempt.content_type)


def _difference(size: int, sha256: str, expected: tuple[Facts, ...]) -> str | None:
    for facts in expected:
        if facts.size is not None and facts.size != size:
            return f"The object has {size} bytes; {facts.size} were announced."
        if facts.sha256 is not None and facts.sha256 != sha256:
            return f"The object's SHA-256 is {sha256}; {facts.sha256} was announced."
    return None


@dataclass(frozen=True, slots=True)
class Verification:
    """The verdicts of one completion, and when its first copy was begun."""

    verdicts: tuple[Verdict, ...]
    began_at: datetime

    @property
    def good(self) -> tuple[Verdict, ...]:
        """Verdicts of objects that match what was announced."""
        return tuple(each for each in self.verdicts if each.failure is None)

    @property
    def bad(self) -> tuple[Verdict, ...]:
        """Verdicts of objects that do not match."""
        return tuple(each for each in self.verdicts if each.failure is not None)
