"""The transactions of a completion: claim media, refuse media, hand verification to a job.

A completion that finds another state than it has read has lost a race (media_states.py): it changes nothing,
deletes its own copies and reads the state again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Unavailable
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

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.devices.service import ConnectionKind
    from lapel.slices.recordings.uploads.integrity import Candidate, Stage, Verdict, Verification
    from lapel.slices.recordings.uploads.snapshot import Snapshot

# A copy without a row is swept when it is a day old. A completion that slept longer than this
# (a laptop was closed) may find its copy swept, so it does not claim: it starts over.
MAX_TRIAL_AGE = timedelta(hours=6)
# After this time the reconciler checks whether a verification is still under way.
VERIFICATION_PATIENCE = timedelta(minutes=15)

# Upload method to kind of connection; for any other method it is unknown.
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
    """How a trial ended: the verdicts claimed and the verdicts refused; neither after a lost race."""

    claimed: tuple[Verdict, ...] = ()
    refused: tuple[Verdict, ...] = ()

    @property
    def lost(self) -> bool:
        """Whether nothing was changed."""
        return not self.claimed and not self.refused


class Settling:
    """Claims, refusals and hand-overs, each in one transaction."""

    def __init__(self, ports: Ports, on_audio: Sequence[OnAudio] = ()) -> None:
        self._ports = ports
        self._on_audio = on_audio

    async def settle(self, snapshot: Snapshot, trial: Verification, stage: Stage) -> CommitOutcome:
        """Claim what is good, refuse what is not, then delete the objects that are no longer needed.

        Until a recording is uploaded, one bad media refuses the completion as a whole; afterwards
        a bad one fails alone.

        Raises Unavailable when the database goes away. If that happens during the commit, it is
        unknown whether the rows serve the copies: the copies stay, and the reconciler's sweep decides.
        """
        crash_point(f"{stage}:before-refusal" if trial.bad else f"{stage}:before-claim")
        try:
            async with self._ports.database.transaction() as connection:
                settled = await self._settle_in(connection, snapshot, trial, stage)
        except LostRace:
            settled = CommitOutcome()
        else:
            crash_point(f"{stage}:refused" if settled.refused else f"{stage}:committed")
        await self._clean(trial, settled, stage)
        return settled

    async def _settle_in(
        self, connection: Connection, snapshot: Snapshot, trial: Verification, stage: Stage
    ) -> CommitOutcome:
        now, world_id, recording_id = self._ports.clock.now(), snapshot.at.world_id, snapshot.at.recording_id
        if snapshot.device_id is not None and snapshot.status != "uploaded" and not trial.bad:
            # Before the recording is locked, because deleting an end user locks the devices first, too.
            by = _CONNECTIONS.get(snapshot.upload_method or "")
            await mark_synced(connection, world_id, snapshot.device_id, by, now)
        locked = await record_queries.lock(connection, Reach(world_id, recording_id))
        if locked is None or now - trial.began_at > MAX_TRIAL_AGE:
            raise LostRace
        uploaded_before = locked.status == "uploaded"
        claims = trial.good if uploaded_before or not trial.bad else ()
        for verdict in trial.bad:
            expected = merged(verdict.take.expected)
            observed = _observed(snapshot, verdict.take)
            await media_states.refuse(connection, observed, expected, verdict.failure, now)
        for verdict in claims:
            await self._claim(connection, snapshot, verdict, now)
        if not claims and stage == "hash":
            for verdict in trial.good:
                again = _next_look(verdict.take, now)
                await media_states.hand_back(connection, _observed(snapshot, verdict.take), again)
        if claims:
            await self._set_uploaded(connection, snapshot, claims, now)
            if not uploaded_before:
                recording = await read_in(connection, Reach(world_id, recording_id), snapshot.project_id)
                await events.publish(connection, self._ports.ids, now, world_id, "uploaded", recording)
            crash_point(f"{stage}:claimed")
        elif await record_queries.set_status(connection, world_id, recording_id, "integrity_failure", now):
            recording = await read_in(connection, Reach(world_id, recording_id), snapshot.project_id)
            occasion = trial.bad[0].take.attempt.id
            await events.publish(
                connection, self._ports.ids, now, world_id, "failed", recording, occasion=occasion
            )
        return CommitOutcome(claims, trial.bad)

    async def _claim(
        self, connection: Connection, snapshot: Snapshot, verdict: Verdict, now: datetime
    ) -> None:
        if verdict.key is None:
            raise LostRace
        verified = media_states.Verified(
            object_key=verdict.key,
            content_type=verdict.take.attempt.content_type,
            size=verdict.size,
            sha256=verdict.sha256,
            duration_ms=verdict.duration_ms,
        )
        await media_states.accept(connection, _observed(snapshot, verdict.take), verified, now)

    async def abandon(self, snapshot: Snapshot, take: Candidate) -> None:
        """End a verification whose staged object is gone: the media is pending again, the attempt refused."""
        again = _next_look(take, self._ports.clock.now())
        try:
            async with self._ports.database.transaction() as connection:
                await record_queries.lock(connection, snapshot.at)
                await media_states.abandon(connection, _observed(snapshot, take), again)
        except LostRace:
            return

    async def _set_uploaded(
        self, connection: Connection, snapshot: Snapshot, claims: Iterable[Verdict], now: datetime
    ) -> None:
        audio = next((each for each in claims if each.take.media.type == "audio"), None)
        await record_queries.set_uploaded(
            connection,
            snapshot.at.world_id,
            snapshot.at.recording_id,
            now,
            audio_sha256=None if audio is None else audio.sha256,
            audio_size=None if audio is None else audio.size,
            audio_type=None if audio is None else audio.take.attempt.content_type,
            audio_duration_ms=None if audio is None else audio.duration_ms,
        )
        if audio is not None:
            for tell in self._on_audio:
                await tell(connection, snapshot.at.world_id, snapshot.at.recording_id, audio.take.media.id)

    async def begin(self, snapshot: Snapshot, takes: tuple[Candidate, ...], *, ask_for_worker: bool) -> bool:
        """Hand large objects to a job; False when the race was lost.

        Raises Unavailable, with nothing changed, when `ask_for_worker` and no worker is running.
        """
        now = self._ports.clock.now()
        crash_point("verify:before-begin")
        try:
            async with self._ports.database.transaction() as connection:
                if ask_for_worker and not await jobs.count_workers(connection):
                    raise Unavailable(
                        "No worker is running to verify this upload. Repeat the request later.",
                        retry_after=10,
                    )
                await self._begin_in(connection, snapshot, takes, now)
                crash_point("verify:begun")
        except LostRace:
            return False
        crash_point("verify:committed")
        return True

    async def _begin_in(
        self, connection: Connection, snapshot: Snapshot, takes: tuple[Candidate, ...], now: datetime
    ) -> None:
        at = Reach(snapshot.at.world_id, snapshot.at.recording_id)
        if await record_queries.lock(connection, at) is None:
            raise LostRace
        for take in takes:
            await media_states.begin(
                connection, _observed(snapshot, take), merged(take.expected), now + VERIFICATION_PATIENCE
            )
        await record_queries.set_status(connection, at.world_id, at.recording_id, "pending", now)
        payload = VerifyUpload(at.world_id, at.recording_id)
        # The reconciler uses the same name, so a job that is still in the queue is not doubled.
        newest = max(take.attempt.id for take in takes)
        await jobs.enqueue(connection, VERIFY, payload, dedupe=newest)

    async def discard(self, verdicts: Iterable[Verdict]) -> None:
        """Delete the copies of an unfinished trial; while the store is away they stay for the sweep."""
        try:
            await self._ports.store.delete_many([each.key for each in verdicts if each.key is not None])
        except StoreUnavailable as error:
            _log.warning("completion.left_for_sweep", error=str(error))

    async def _clean(self, trial: Verification, settled: CommitOutcome, stage: Stage) -> None:
        """Delete our copies that no row serves, and staged objects that were claimed or refused.

        The reconciler sweeps what stays because the store is away or the process is killed.
        """
        served = {each.key for each in settled.claimed}
        copies = [each.key for each in trial.verdicts if each.key is not None and each.key not in served]
        staged = [each.take.attempt.staging_key for each in (*settled.claimed, *settled.refused)]
        try:
            await self._ports.store.delete_many(copies)
            crash_point(f"{stage}:copies-deleted")
            await self._ports.store.delete_many(staged)
            crash_point(f"{stage}:staging-deleted")
        except StoreUnavailable as error:
            _log.warning("completion.left_for_sweep", objects=len(copies) + len(staged), error=str(error))


def _observed(snapshot: Snapshot, take: Candidate) -> media_states.Observed:
    return media_states.Observed(
        world_id=snapshot.at.world_id,
        recording_id=snapshot.at.recording_id,
        media_id=take.media.id,
        status=take.media.status,
        attempt_id=take.attempt.id,
        state=take.attempt.state,
    )


def _next_look(take: Candidate, now: datetime) -> datetime:
    """When the reconciler looks at a media that is pending again."""
    return max(take.media.last_url_expires_at, now + VERIFICATION_PATIENCE)
