"""upload-complete: after its 200 the uploaded bytes are verified, kept and can be downloaded.

staging -> copy under a fresh key -> hash of the copy -> one transaction claims the rows.
If the process is killed between two of these steps, the client's repeat or the reconciler finishes
the upload. At most a copy without a row is left behind; the sweep removes it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from lapel.foundation.core.admission import Admission, NoRoom
from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.storage import object_names
from lapel.foundation.storage.errors import ObjectMissing
from lapel.slices.recordings.errors import IntegrityFailure, UploadVerificationPending
from lapel.slices.recordings.records.service import read_in
from lapel.slices.recordings.uploads import agreement
from lapel.slices.recordings.uploads.commit import CommitOutcome, Settling
from lapel.slices.recordings.uploads.integrity import Candidate, Integrity, Verification
from lapel.slices.recordings.uploads.snapshot import look, refusals
from lapel.slices.recordings.wire import CompleteUpload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.ports import Ports
    from lapel.slices.recordings.access import Reach
    from lapel.slices.recordings.payloads import VerifyUpload
    from lapel.slices.recordings.uploads.commit import OnAudio
    from lapel.slices.recordings.uploads.facts import Facts
    from lapel.slices.recordings.uploads.integrity import Verdict
    from lapel.slices.recordings.uploads.snapshot import Attempt, MediaState, Snapshot
    from lapel.slices.recordings.wire import Recording

# Each lost race means that another request finished something.
_TRIES = 5
# Objects of one recording that are copied and hashed concurrently.
_AT_ONCE = 4
# The most bytes that one call hashes, in multiples of the inline limit.
_INLINE_TOTAL = 4
# Calls that examine at once, in one process and in one world; a call that waits longer than `_PATIENCE`
# seconds is answered 425.
_EXAMINING = 8
_EXAMINING_OF_ONE_WORLD = 4
_PATIENCE = 8.0
# Seconds after which an examination goes on in a job: a call is answered within 25.
_EXAMINED_WITHIN = 12.0

# Seconds of waiting that are too short for another request to have changed anything.
_HARDLY = 0.01
# Seconds into a call after which a lost race is left to the client's repeat.
_LOST_LATE = 3.0

_NOTHING_SAID = CompleteUpload()

_T = TypeVar("_T")
_R = TypeVar("_R")


class _TakesLong(Exception):
    """The examination takes longer than a call may."""


class Completion:
    """Verifies uploaded objects, and serves them from then on."""

    def __init__(
        self,
        ports: Ports,
        on_audio: Sequence[OnAudio] = (),
        *,
        examining: Admission | None = None,
        examined_within: float = _EXAMINED_WITHIN,
    ) -> None:
        """`examining` limits the calls that copy and hash at once. `examined_within`: seconds that a call has
        for that; then a job goes on."""
        self._ports = ports
        self._examined_within = examined_within
        self._examining = examining or Admission(_EXAMINING, _EXAMINING_OF_ONE_WORLD, patience=_PATIENCE)
        self._integrity = Integrity(ports)
        self._settling = Settling(ports, on_audio)

    async def complete(self, actor: Actor, at: Reach, body: CompleteUpload) -> Recording:
        """Verify the newest uploaded object of every pending media, and serve it from then on.

        Raises NotFound when `at` reaches no recording; InvalidRequest when it is not clear which media the
        facts describe; MediaNotUploaded when there is no object; IntegrityFailure when the bytes are not
        those that were announced; Conflict when the upload has other facts; UploadVerificationPending while
        it is being verified (repeat the identical request); Unavailable when the database or a worker is
        away or other requests keep changing the recording; StoreUnavailable when the store is away.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(_TRIES):
            if await self._try(at, body, due=None, ask_for_worker=True):
                async with self._ports.database.acquire() as connection:
                    return await read_in(connection, at, actor.project_id)
            if loop.time() - began > _LOST_LATE:
                break
        raise Unavailable("Other requests change this recording at the same time. Repeat the request.")

    async def finish(self, at: Reach, due: frozenset[str]) -> None:
        """Complete the media of `due` only, on behalf of a client that died after its PUT.

        Raises what `complete` raises; MediaNotUploaded whenever none of them has an object.
        """
        for _ in range(_TRIES):
            if await self._try(at, _NOTHING_SAID, due=due, ask_for_worker=False):
                return

    async def _try(
        self, at: Reach, body: CompleteUpload, *, due: frozenset[str] | None, ask_for_worker: bool
    ) -> bool:
        """Whether the call is answered; False after a lost race, when all state must be read anew.

        Raises what `complete` raises.
        """
        crash_point("complete:begin")
        snapshot = await self._look(at)
        if snapshot.having("verifying"):
            agreement.check_pending(snapshot, agreement.facts_of(body))
            raise _still_verifying()
        pending = tuple(each for each in snapshot.having("pending") if due is None or each.id in due)
        found = await self._find_all(snapshot, pending)
        crash_point("complete:found")
        if len(found) < len(pending) and await self._look(at) != snapshot:
            return False  # a faster completion has taken, and deleted, a staged object
        if not found:
            if due is not None:
                raise agreement.nothing_uploaded()
            await self._nothing_to_take(snapshot, agreement.facts_of(body))
            return True
        taken = {media.id for media, _, _ in found}
        subject = agreement.subject_of(snapshot, pending, taken, body)
        given = agreement.facts_of(body)
        takes = tuple(
            Candidate(
                media,
                attempt,
                size,
                (given, attempt.declared) if media.id == subject else (attempt.declared,),
            )
            for media, attempt, size in found
        )
        if not self._too_much_for_a_call(takes):
            with suppress(_TakesLong):
                return _answer(await self._take_in_turn(snapshot, takes))
        if not await self._settling.begin(snapshot, takes, ask_for_worker=ask_for_worker):
            return False
        raise _still_verifying()

    async def _look(self, at: Reach) -> Snapshot:
        async with self._ports.database.acquire() as connection:
            return await look(connection, at)

    async def _nothing_to_take(self, snapshot: Snapshot, facts: Facts) -> None:
        """Pass when this repeats a finished call.

        Raises MediaNotUploaded, IntegrityFailure or Conflict when it does not.
        """
        if snapshot.status == "uploaded":
            async with self._ports.database.acquire() as connection:
                refused = await refusals(connection, snapshot.at) if snapshot.having("failed") else ()
            agreement.check_repeat(snapshot, facts, refused)
            return
        if snapshot.status == "integrity_failure" and not snapshot.having("pending"):
            raise agreement.refused()
        raise agreement.nothing_uploaded()

    async def _take_in_turn(self, snapshot: Snapshot, takes: tuple[Candidate, ...]) -> CommitOutcome:
        """Examine and settle once there is a place.

        Raises UploadVerificationPending when no place is free in time, _TakesLong when the store is slow.
        """
        loop = asyncio.get_running_loop()
        asked = loop.time()
        try:
            async with self._examining.hold(snapshot.at.world_id):
                waited = loop.time() - asked > _HARDLY
                if waited and await self._look(snapshot.at) != snapshot:
                    return CommitOutcome()  # another request has examined it meanwhile
                return await self._take(snapshot, takes)
        except NoRoom:
            raise UploadVerificationPending(
                "Many uploads are being verified at once. Repeat the identical request.", retry_after=2
            ) from None

    async def _take(self, snapshot: Snapshot, takes: tuple[Candidate, ...]) -> CommitOutcome:
        began_at = self._ports.clock.now()

        async def examine(take: Candidate) -> Verdict | None:
            try:
                return await self._integrity.examine(snapshot, take, "complete")
            except ObjectMissing:  # a faster completion has deleted it
                return None

        try:
            async with asyncio.timeout(self._examined_within):
                found = await _side_by_side(examine, takes)
        except TimeoutError:  # the sweep removes the copies made so far
            raise _TakesLong from None
        verdicts = tuple(each for each in found if each is not None)
        if len(verdicts) < len(takes):
            await self._settling.discard(verdicts)
            return CommitOutcome()
        return await self._settling.settle(snapshot, Verification(verdicts, began_at), "complete")

    def _too_much_for_a_call(self, takes: tuple[Candidate, ...]) -> bool:
        """Whether a job must hash this. An object over its type's limit is refused without hashing."""
        sizes = [take.size for take in takes if self._integrity.too_large(take.media.type, take.size) is None]
        limit = self._ports.settings.inline_hash_bytes
        return any(size > limit for size in sizes) or sum(sizes) > _INLINE_TOTAL * limit

    async def _find_all(
        self, snapshot: Snapshot, pending: tuple[MediaState, ...]
    ) -> list[tuple[MediaState, Attempt, int]]:
        """The pending media that have an object, each with its newest attempt that has one, and its bytes."""

        async def find(media: MediaState) -> tuple[MediaState, Attempt, int] | None:
            found = await self._find(snapshot, media)
            return None if found is None else (media, *found)

        return [each for each in await _side_by_side(find, pending) if each is not None]

    async def _find(self, snapshot: Snapshot, media: MediaState) -> tuple[Attempt, int] | None:
        if not media.attempts:
            return None
        newest = media.attempts[0]
        try:
            return newest, (await self._ports.store.head(newest.staging_key)).size
        except ObjectMissing:
            if len(media.attempts) == 1:
                return None
        prefix, _ = object_names.recording_prefixes(snapshot.project_id, snapshot.at.recording_id)
        sizes = {each.key: each.size async for each in self._ports.store.list(f"{prefix}{media.id}/")}
        for attempt in media.attempts:
            if attempt.staging_key in sizes:
                return attempt, sizes[attempt.staging_key]
        return None

    async def verify(self, payload: VerifyUpload) -> None:
        """The job: verify what upload-complete found too large for a call. Running twice does no harm.

        Raises NotFound when the recording is gone; StoreUnavailable or Unavailable while the store or the
        database is away.
        """
        crash_point("hash:begin")
        snapshot = await self._look(payload.at)
        began_at = self._ports.clock.now()
        verdicts: list[Verdict] = []
        for media in snapshot.having("verifying"):
            verdict = await self._verify_one(snapshot, media)
            if verdict is not None:
                verdicts.append(verdict)
        if verdicts:
            await self._settling.settle(snapshot, Verification(tuple(verdicts), began_at), "hash")

    async def _verify_one(self, snapshot: Snapshot, media: MediaState) -> Verdict | None:
        attempt = next((each for each in media.attempts if each.state == "verifying"), None)
        if attempt is None:
            return None
        take = Candidate(media, attempt, 0, (attempt.expected, attempt.declared))
        try:
            size = (await self._ports.store.head(attempt.staging_key)).size
            sized = Candidate(media, attempt, size, take.expected)
            return await self._integrity.examine(snapshot, sized, "hash")
        except ObjectMissing:
            await self._settling.abandon(snapshot, take)
            return None


def _answer(settled: CommitOutcome) -> bool:
    """Raises IntegrityFailure for what was refused; False for a lost race."""
    if settled.refused:
        verdict = settled.refused[0]
        raise IntegrityFailure(
            f"{verdict.failure} Ask for a fresh upload URL and upload again.",
            resource_id=verdict.take.media.id,
        )
    return not settled.lost


def _still_verifying() -> UploadVerificationPending:
    return UploadVerificationPending(
        "The upload is being verified in the background. Repeat the identical request.", retry_after=2
    )


async def _side_by_side(work: Callable[[_T], Awaitable[_R]], items: tuple[_T, ...]) -> list[_R]:
    """All results in order, `_AT_ONCE` at a time. Raises the first error once everything has ended."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(item: _T) -> _R:
        async with gate:
            return await work(item)

    results = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
    done: list[_R] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done
