"""The transactions of a completion: accept media, refuse media, or hand large objects to a job.

A completion that has lost a race (media_states.py) changes no row, deletes its own copies and reads the state
again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, Protocol

import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database import audit
from lapel.foundation.queue import jobs
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.slices.devices.service import mark_synced
from lapel.slices.recordings import events
from lapel.slices.recordings.access import Reach
from lapel.slices.recordings.payloads import VERIFY, VerifyUpload
from lapel.slices.recordings.records import record_queries
from lapel.slices.recordings.records.service import read_in
from lapel.slices.recordings.uploads import media_states
from lapel.slices.recordings.uploads.facts import merged
from lapel.slices.recordings.uploads.media_states import LostRace
from lapel.slices.recordings.uploads.staged_deletions import StagedDeletions
from lapel.slices.recordings.views import recording_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.devices.service import ConnectionKind
    from lapel.slices.recordings.uploads.integrity import Candidate, Stage, Verdict, Verification
    from lapel.slices.recordings.uploads.snapshot import Snapshot
    from lapel.slices.recordings.wire import Recording

# The sweep deletes a copy without a row when the copy is a day old. A completion that was suspended for
# longer than `MAX_VERIFICATION_AGE` (a closed laptop) starts over, because the sweep may have deleted its
# copy.
MAX_VERIFICATION_AGE = timedelta(hours=6)
# If a verification takes longer, the reconciler enqueues the verification's job again.
VERIFICATION_PATIENCE = timedelta(minutes=15)

# The connection of each upload method. The connection of any other method is unknown.
_CONNECTIONS: dict[str, ConnectionKind] = {
    "ble": "ble",
    "wifi": "wifi",
    "wifi_direct": "wifi",
    "4g": "cellular",
    "4g_direct": "cellular",
    "cellular": "cellular",
}

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class OnAudio(Protocol):
    """A hook of another slice, called in the transaction that makes an audio readable."""

    async def __call__(
        self, connection: Connection, world_id: int, recording_id: str, media_id: str
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class CommitOutcome:
    """What one commit has accepted and refused. After a lost race, both are empty.

    `recording`: what the commit made of the recording, if it has accepted media.
    """

    accepted: tuple[Verdict, ...] = ()
    refused: tuple[Verdict, ...] = ()
    recording: Recording | None = None

    @property
    def lost(self) -> bool:
        """Whether the race was lost, so that nothing was changed."""
        return not self.accepted and not self.refused


class UploadCommits:
    """Accepts media, refuses media and hands objects to a job, each in one transaction."""

    def __init__(self, ports: Ports, on_audio: Sequence[OnAudio] = ()) -> None:
        self._ports = ports
        self._on_audio = on_audio
        self.staged_deletions = StagedDeletions(ports.store)

    async def commit(
        self, snapshot: Snapshot, verification: Verification, stage: Stage, by: Actor | None = None
    ) -> CommitOutcome:
        """Accept good media, refuse bad media, then delete the objects that are no longer needed.

        `by`: the caller who completes the upload, for the audit log; None in a job, whose caller got an entry
        when the job began, or has not called. A caller does not wait for the deletion of staged objects.

        Before a recording is uploaded, one bad media refuses the whole completion. Afterwards a bad media
        fails alone.

        Raises Unavailable when the database fails. If the database fails during the commit, the copies stay,
        because the rows may serve them. The reconciler's sweep deletes the copies that no row serves.
        """
        crash_point(f"{stage}:before-refusal" if verification.bad else f"{stage}:before-claim")
        try:
            async with self._ports.database.transaction() as connection:
                outcome = await self._commit_in(connection, snapshot, verification, stage)
                if by is not None and not outcome.lost:
                    done = "completed" if outcome.accepted else "refused"
                    await self._note(connection, snapshot, by, done)
        except LostRace:
            outcome = CommitOutcome()
        else:
            crash_point(f"{stage}:refused" if outcome.refused else f"{stage}:committed")
        await self._clean(verification, outcome, stage, soon=by is not None)
        return outcome

    async def _commit_in(
        self, connection: Connection, snapshot: Snapshot, verification: Verification, stage: Stage
    ) -> CommitOutcome:
        now, world_id, recording_id = self._ports.clock.now(), snapshot.at.world_id, snapshot.at.recording_id
        if snapshot.device_id is not None and snapshot.status != "uploaded" and not verification.bad:
            # Lock the device before the recording, as the deletion of an end user does.
            by = _CONNECTIONS.get(snapshot.upload_method or "")
            await mark_synced(connection, world_id, snapshot.device_id, snapshot.end_user_id, by, now)
        locked = await record_queries.lock(connection, Reach(world_id, recording_id))
        if locked is None or now - verification.began_at > MAX_VERIFICATION_AGE:
            raise LostRace
        uploaded_before = locked.status == "uploaded"
        accepted = verification.good if uploaded_before or not verification.bad else ()
        for verdict in verification.bad:
            expected = merged(verdict.candidate.expected)
            observed = _observed(snapshot, verdict.candidate)
            await media_states.refuse(connection, observed, expected, verdict.failure, now)
        for verdict in accepted:
            await self._accept(connection, snapshot, verdict, now)
        if not accepted and stage == "hash":
            for verdict in verification.good:
                again = _next_look(verdict.candidate, now)
                await media_states.hand_back(connection, _observed(snapshot, verdict.candidate), again)
        recording: Recording | None = None
        if accepted:
            recording = await self._set_uploaded(connection, snapshot, accepted, now)
            if not uploaded_before:
                await events.publish(connection, self._ports.ids, now, world_id, "uploaded", recording)
            crash_point(f"{stage}:claimed")
        elif await record_queries.set_status(connection, world_id, recording_id, "integrity_failure", now):
            failed = await read_in(connection, Reach(world_id, recording_id), snapshot.project_id)
            occasion = verification.bad[0].candidate.attempt.id
            await events.publish(
                connection, self._ports.ids, now, world_id, "failed", failed, occasion=occasion
            )
        return CommitOutcome(accepted, verification.bad, recording)

    async def _accept(
        self, connection: Connection, snapshot: Snapshot, verdict: Verdict, now: datetime
    ) -> None:
        if verdict.key is None:
            raise LostRace
        verified = media_states.Verified(
            object_key=verdict.key,
            content_type=verdict.candidate.attempt.content_type,
            size=verdict.size,
            sha256=verdict.sha256,
            duration_ms=verdict.duration_ms,
        )
        await media_states.accept(connection, _observed(snapshot, verdict.candidate), verified, now)

    async def abandon(self, snapshot: Snapshot, candidate: Candidate) -> None:
        """End a verification whose staged object is gone. Refuses the attempt; the media is pending again."""
        again = _next_look(candidate, self._ports.clock.now())
        try:
            async with self._ports.database.transaction() as connection:
                await record_queries.lock(connection, snapshot.at)
                await media_states.abandon(connection, _observed(snapshot, candidate), again)
        except LostRace:
            return

    async def _set_uploaded(
        self, connection: Connection, snapshot: Snapshot, accepted: Iterable[Verdict], now: datetime
    ) -> Recording:
        audio = next((each for each in accepted if each.candidate.media.type == "audio"), None)
        row = await record_queries.set_uploaded(
            connection,
            snapshot.at.world_id,
            snapshot.at.recording_id,
            now,
            audio_sha256=None if audio is None else audio.sha256,
            audio_size=None if audio is None else audio.size,
            audio_type=None if audio is None else audio.candidate.attempt.content_type,
            audio_duration_ms=None if audio is None else audio.duration_ms,
        )
        if audio is not None:
            for tell in self._on_audio:
                await tell(
                    connection, snapshot.at.world_id, snapshot.at.recording_id, audio.candidate.media.id
                )
        return recording_of(row, snapshot.project_id)

    async def begin(self, snapshot: Snapshot, candidates: tuple[Candidate, ...], *, by: Actor | None) -> bool:
        """Hand large objects to a job. Returns False after a lost race.

        Raises Unavailable, and changes nothing, when `by`, the caller, waits for it and no worker is running.
        """
        now = self._ports.clock.now()
        crash_point("verify:before-begin")
        try:
            async with self._ports.database.transaction() as connection:
                if by is not None and not await jobs.count_workers(connection):
                    raise Unavailable(
                        "No worker is running to verify this upload. Repeat the request later.",
                        retry_after=10,
                    )
                await self._begin_in(connection, snapshot, candidates, now)
                if by is not None:
                    await self._note(connection, snapshot, by, "completed")
                crash_point("verify:begun")
        except LostRace:
            return False
        crash_point("verify:committed")
        return True

    async def _begin_in(
        self, connection: Connection, snapshot: Snapshot, candidates: tuple[Candidate, ...], now: datetime
    ) -> None:
        at = Reach(snapshot.at.world_id, snapshot.at.recording_id)
        if await record_queries.lock(connection, at) is None:
            raise LostRace
        for candidate in candidates:
            await media_states.begin(
                connection,
                _observed(snapshot, candidate),
                merged(candidate.expected),
                now + VERIFICATION_PATIENCE,
            )
        await record_queries.set_status(connection, at.world_id, at.recording_id, "pending", now)
        payload = VerifyUpload(at.world_id, at.recording_id)
        # The reconciler enqueues the job under the same name, so the queue never has the job twice.
        newest = max(candidate.attempt.id for candidate in candidates)
        await jobs.enqueue(connection, VERIFY, payload, dedupe=newest)

    async def _note(
        self, connection: Connection, snapshot: Snapshot, by: Actor, done: Literal["completed", "refused"]
    ) -> None:
        """A refusal is an entry too, because it marks the upload as failed."""
        at, now = snapshot.at, self._ports.clock.now()
        action, about = f"recording.upload_{done}", snapshot.end_user_id
        await audit.note(connection, self._ports.ids, now, by, action, at.recording_id, about)

    async def discard(self, verdicts: Iterable[Verdict]) -> None:
        """Delete the copies of an unfinished verification. If the store fails, the sweep deletes them."""
        try:
            await self._ports.store.delete_many([each.key for each in verdicts if each.key is not None])
        except StoreUnavailable as error:
            _log.warning("completion.left_for_sweep", error=str(error))

    async def _clean(
        self, verification: Verification, outcome: CommitOutcome, stage: Stage, *, soon: bool
    ) -> None:
        """Delete the copies that no row serves, and the staged objects that were accepted or refused: the
        latter `soon`, or now.

        If the store fails or the process is killed, the reconciler's sweep deletes them.
        """
        served = {each.key for each in outcome.accepted}
        copies = [
            each.key for each in verification.verdicts if each.key is not None and each.key not in served
        ]
        staged = [each.candidate.attempt.staging_key for each in (*outcome.accepted, *outcome.refused)]
        try:
            await self._ports.store.delete_many(copies)
            crash_point(f"{stage}:copies-deleted")
            if not soon:
                await self._ports.store.delete_many(staged)
                crash_point(f"{stage}:staging-deleted")
        except StoreUnavailable as error:
            _log.warning("completion.left_for_sweep", objects=len(copies) + len(staged), error=str(error))
        if soon:
            await self.staged_deletions.delete(staged)


def _observed(snapshot: Snapshot, candidate: Candidate) -> media_states.Observed:
    return media_states.Observed(
        world_id=snapshot.at.world_id,
        recording_id=snapshot.at.recording_id,
        media_id=candidate.media.id,
        status=candidate.media.status,
        attempt_id=candidate.attempt.id,
        state=candidate.attempt.state,
    )


def _next_look(candidate: Candidate, now: datetime) -> datetime:
    """The time at which the reconciler looks at a media that becomes pending again."""
    return max(candidate.media.last_url_expires_at, now + VERIFICATION_PATIENCE)
