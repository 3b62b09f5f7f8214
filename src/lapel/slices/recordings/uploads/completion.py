"""upload-complete. The answer 200 promises that the uploaded bytes are verified and kept, and can be
downloaded.

The steps: copy the staged object to a new object name, hash the copy, accept the media in one transaction.
If the process is killed between two steps, the client's repeat or the reconciler finishes the upload.
The killed call may leave a copy without a row; the reconciler deletes this copy.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from lapel.foundation.core.admission import Admission, NoRoom
from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.storage import object_names
from lapel.foundation.storage.errors import ObjectMissing
from lapel.slices.recordings.errors import UploadVerificationPending
from lapel.slices.recordings.records.service import read_in
from lapel.slices.recordings.uploads import agreement
from lapel.slices.recordings.uploads.commit import CommitOutcome, UploadCommits
from lapel.slices.recordings.uploads.integrity import Candidate, Integrity, Verification
from lapel.slices.recordings.uploads.snapshot import look, refusals
from lapel.slices.recordings.uploads.start import check_upload
from lapel.slices.recordings.views import shown_to
from lapel.slices.recordings.wire import CompleteUpload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.ports import Ports
    from lapel.foundation.storage.object_info import ObjectInfo
    from lapel.slices.recordings.access import Reach
    from lapel.slices.recordings.payloads import VerifyUpload
    from lapel.slices.recordings.uploads.commit import OnAudio
    from lapel.slices.recordings.uploads.facts import Facts
    from lapel.slices.recordings.uploads.integrity import Verdict
    from lapel.slices.recordings.uploads.snapshot import Attempt, MediaState, Snapshot
    from lapel.slices.recordings.uploads.start import BeforeUpload
    from lapel.slices.recordings.wire import Recording

# The most tries of one call. Each lost race means that another request has changed the recording.
_TRIES = 5
# The most objects of one recording that are examined at the same time.
_AT_ONCE = 4
# The most bytes that one call hashes, in multiples of the inline limit.
_INLINE_TOTAL = 4
# The most calls that examine at the same time, in one process and in one world. A call that waits longer than
# `_PATIENCE` seconds answers 425.
_EXAMINING = 8
_EXAMINING_OF_ONE_WORLD = 4
_PATIENCE = 8.0
# An examination that takes more seconds continues in a job, because a call must answer within 25 seconds.
_EXAMINED_WITHIN = 12.0

# After a wait of fewer seconds, the call does not read the state again, because hardly anything can have
# changed.
_HARDLY = 0.01
# A call that has taken more seconds does not try again after a lost race. The client repeats the call
# instead.
_LOST_LATE = 3.0

_NOTHING_SAID = CompleteUpload()

_T = TypeVar("_T")
_R = TypeVar("_R")


class _TakesLong(Exception):
    """An examination takes longer than a call may take."""


@dataclass(frozen=True, slots=True)
class _Done:
    """The end of a call. `recording`: what the call has made of it; None: the call has changed nothing."""

    recording: Recording | None


class Completion:
    """Verifies uploaded objects and lets the media serve them."""

    def __init__(
        self,
        ports: Ports,
        on_audio: Sequence[OnAudio] = (),
        before_upload: Sequence[BeforeUpload] = (),
        *,
        examining: Admission | None = None,
        examined_within: float = _EXAMINED_WITHIN,
    ) -> None:
        """`examining`: limits the calls that examine (copy and hash) at the same time.

        `examined_within`: the seconds that a call may examine before a job continues.
        """
        self._ports = ports
        self._before_upload = before_upload
        self._examined_within = examined_within
        self._examining = examining or Admission(_EXAMINING, _EXAMINING_OF_ONE_WORLD, patience=_PATIENCE)
        self._integrity = Integrity(ports)
        self._commits = UploadCommits(ports, on_audio)

    async def complete(self, actor: Actor, at: Reach, body: CompleteUpload) -> Recording:
        """Verify the newest uploaded object of every pending media. The media's links then serve this object.

        Raises:

        - NotFound when `at` reaches no recording.
        - InvalidRequest when it is not clear which of several media the facts describe.
        - MediaNotUploaded when there is no object.
        - IntegrityFailure when the bytes differ from the announced facts.
        - Conflict when the facts of `body` differ from those of an upload (signed, under way, or finished).
        - UploadVerificationPending during the verification: the client repeats the identical request.
        - Unavailable when the database fails, no worker runs or other requests keep changing the recording.
        - StoreUnavailable when the store fails.
        - What a hook of `before_upload` raises, unless the verification is under way.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(_TRIES):
            done = await self._try(at, body, by=actor)
            if done is not None:
                return shown_to(actor, done.recording or await self._read(actor, at))
            if loop.time() - began > _LOST_LATE:
                break
        raise Unavailable("Other requests change this recording at the same time. Repeat the request.")

    async def finish(self, at: Reach, due: frozenset[str]) -> None:
        """Complete only the media of `due`, for a client that has not completed its upload after the PUT.

        Raises what `complete` raises, and MediaNotUploaded whenever no media of `due` has an object.
        """
        for _ in range(_TRIES):
            if await self._try(at, _NOTHING_SAID, due=due) is not None:
                return

    async def aclose(self) -> None:
        """Delete the staged objects that completions no longer need."""
        await self._commits.staged_deletions.aclose()

    async def _read(self, actor: Actor, at: Reach) -> Recording:
        async with self._ports.database.acquire() as connection:
            return await read_in(connection, at, actor.project_id)

    async def _try(
        self, at: Reach, body: CompleteUpload, *, due: frozenset[str] | None = None, by: Actor | None = None
    ) -> _Done | None:
        """What the call can answer. None after a lost race: then all state must be read again.

        `due`: complete only these media; None: all. `by`: the caller; None: the reconciler, which does not
        need a running worker. Raises what `complete` raises.
        """
        crash_point("complete:begin")
        snapshot = await self._look(at)
        if snapshot.having("verifying"):
            agreement.check_pending(snapshot, agreement.facts_of(body))
            raise _still_verifying()
        pending = tuple(each for each in snapshot.having("pending") if due is None or each.id in due)
        found = await self._find_allowed(snapshot, pending, by)
        crash_point("complete:found")
        if len(found) < len(pending) and await self._look(at) != snapshot:
            return None  # a faster completion has deleted a staged object
        if not found:
            if due is not None:
                raise agreement.nothing_uploaded()
            await self._check_without_objects(snapshot, agreement.facts_of(body))
            return _Done(None)
        with_object = {media.id for media, _, _ in found}
        subject = agreement.subject_of(snapshot, pending, with_object, body)
        given = agreement.facts_of(body)
        for media, attempt, _ in found:
            if media.id == subject:
                agreement.check_signed(given, attempt.declared, media.id)
        candidates = tuple(
            Candidate(
                media,
                attempt,
                there.size,
                (given, attempt.declared) if media.id == subject else (attempt.declared,),
                there.etag,
            )
            for media, attempt, there in found
        )
        if not self._needs_a_job(candidates):
            with suppress(_TakesLong):
                return _answer(await self._examine_in_turn(snapshot, candidates, by))
        if not await self._commits.begin(snapshot, candidates, by=by):
            return None
        raise _still_verifying()

    async def _look(self, at: Reach) -> Snapshot:
        async with self._ports.database.acquire() as connection:
            return await look(connection, at)

    async def _find_allowed(
        self, snapshot: Snapshot, pending: tuple[MediaState, ...], by: Actor | None
    ) -> list[tuple[MediaState, Attempt, ObjectInfo]]:
        """What `_find_all` finds, unless a hook of `before_upload` refuses the caller `by`.

        No hook refuses the reconciler, nor what is being verified: those bytes are kept, so that none are
        lost that a client has handed over before it would be refused. Hooks and store are asked at the same
        time.
        """
        if by is None:
            return await self._find_all(snapshot, pending)

        async def check() -> None:
            async with self._ports.database.acquire() as connection:
                hooks, world_id = self._before_upload, snapshot.at.world_id
                owner = (snapshot.end_user_id, snapshot.device_id, snapshot.binding_generation)
                await check_upload(hooks, connection, world_id, *owner, snapshot.status)

        finding = self._find_all(snapshot, pending)
        checked, found = await asyncio.gather(check(), finding, return_exceptions=True)
        if isinstance(checked, BaseException):
            raise checked
        if isinstance(found, BaseException):
            raise found
        return found

    async def _check_without_objects(self, snapshot: Snapshot, facts: Facts) -> None:
        """Accept a call that finds no object, if the call repeats a finished call.

        Raises MediaNotUploaded, IntegrityFailure or Conflict for any other call.
        """
        if snapshot.status == "uploaded":
            async with self._ports.database.acquire() as connection:
                refused = await refusals(connection, snapshot.at) if snapshot.having("failed") else ()
            agreement.check_repeat(snapshot, facts, refused)
            return
        if snapshot.status == "integrity_failure" and not snapshot.having("pending"):
            failed = snapshot.audio or next(iter(snapshot.having("failed")), None)
            raise agreement.refused(failed and failed.failure, failed and failed.id)
        raise agreement.nothing_uploaded()

    async def _examine_in_turn(
        self, snapshot: Snapshot, candidates: tuple[Candidate, ...], by: Actor | None
    ) -> CommitOutcome:
        """Wait for admission, then examine and commit.

        Raises UploadVerificationPending when the wait is too long, and _TakesLong when the store is slow.
        """
        loop = asyncio.get_running_loop()
        asked = loop.time()
        try:
            async with self._examining.place(snapshot.at.world_id):
                waited = loop.time() - asked > _HARDLY
                if waited and await self._look(snapshot.at) != snapshot:
                    return CommitOutcome()  # another request has changed the recording meanwhile
                return await self._examine(snapshot, candidates, by)
        except NoRoom:
            raise UploadVerificationPending(
                "Many uploads are being verified at once. Repeat the identical request.", retry_after=2
            ) from None

    async def _examine(
        self, snapshot: Snapshot, candidates: tuple[Candidate, ...], by: Actor | None
    ) -> CommitOutcome:
        began_at = self._ports.clock.now()

        async def examine(candidate: Candidate) -> Verdict | None:
            try:
                return await self._integrity.examine(snapshot, candidate, "complete")
            except ObjectMissing:  # a faster completion has deleted it
                return None

        try:
            async with asyncio.timeout(self._examined_within):
                found = await _side_by_side(examine, candidates)
        except TimeoutError:  # the sweep deletes the copies made so far
            raise _TakesLong from None
        verdicts = tuple(each for each in found if each is not None)
        if len(verdicts) < len(candidates):
            await self._commits.discard(verdicts)
            return CommitOutcome()
        return await self._commits.commit(snapshot, Verification(verdicts, began_at), "complete", by)

    def _needs_a_job(self, candidates: tuple[Candidate, ...]) -> bool:
        """Whether hashing takes too long for a call. Objects above their type's limit need no hashing."""
        sizes = [
            each.size for each in candidates if self._integrity.too_large(each.media.type, each.size) is None
        ]
        limit = self._ports.settings.inline_hash_bytes
        return any(size > limit for size in sizes) or sum(sizes) > _INLINE_TOTAL * limit

    async def _find_all(
        self, snapshot: Snapshot, pending: tuple[MediaState, ...]
    ) -> list[tuple[MediaState, Attempt, ObjectInfo]]:
        """The pending media that have an object: media, newest attempt with an object, and this object."""

        async def find(media: MediaState) -> tuple[MediaState, Attempt, ObjectInfo] | None:
            found = await self._find(snapshot, media)
            return None if found is None else (media, *found)

        return [each for each in await _side_by_side(find, pending) if each is not None]

    async def _find(self, snapshot: Snapshot, media: MediaState) -> tuple[Attempt, ObjectInfo] | None:
        if not media.attempts:
            return None
        newest = media.attempts[0]
        try:
            return newest, await self._ports.store.head(newest.staging_key)
        except ObjectMissing:
            if len(media.attempts) == 1:
                return None
        prefix, _, _ = object_names.recording_prefixes(snapshot.project_id, snapshot.at.recording_id)
        found = {each.key: each async for each in self._ports.store.list(f"{prefix}{media.id}/")}
        for attempt in media.attempts:
            if attempt.staging_key in found:
                return attempt, found[attempt.staging_key]
        return None

    async def verify(self, payload: VerifyUpload) -> None:
        """The job: verify the objects that were too large for a call. It may run twice.

        Raises NotFound when the recording is deleted, StoreUnavailable when the store fails, and Unavailable
        when the database fails.
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
            await self._commits.commit(snapshot, Verification(tuple(verdicts), began_at), "hash")

    async def _verify_one(self, snapshot: Snapshot, media: MediaState) -> Verdict | None:
        attempt = next((each for each in media.attempts if each.state == "verifying"), None)
        if attempt is None:
            return None
        candidate = Candidate(media, attempt, 0, (attempt.expected, attempt.declared))
        try:
            there = await self._ports.store.head(attempt.staging_key)
            sized = Candidate(media, attempt, there.size, candidate.expected, there.etag)
            return await self._integrity.examine(snapshot, sized, "hash")
        except ObjectMissing:
            await self._commits.abandon(snapshot, candidate)
            return None


def _answer(outcome: CommitOutcome) -> _Done | None:
    """The answer when media were accepted, None after a lost race.

    Raises IntegrityFailure for refused media.
    """
    if outcome.refused:
        verdict = outcome.refused[0]
        raise agreement.refused(verdict.failure, verdict.candidate.media.id)
    return None if outcome.lost else _Done(outcome.recording)


def _still_verifying() -> UploadVerificationPending:
    return UploadVerificationPending(
        "The upload is being verified in the background. Repeat the identical request.", retry_after=2
    )


async def _side_by_side(work: Callable[[_T], Awaitable[_R]], items: tuple[_T, ...]) -> list[_R]:
    """Do the work for `_AT_ONCE` items at a time. Raises the first error when all work has ended."""
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
