"""Runs steps: claims the next step in order, does it, and writes the result.

A step is leased to a worker for a short time, and the worker renews the lease as long as it lives. So when a
worker is killed, its step is soon free again, and another worker repeats the step. A worker without the lease
writes nothing, so no step ends twice. If some workers die while a child process of theirs is at an audio, the
audio is given up. docs/decisions/0005 gives the reasons.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import defaultdict
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import copy_context
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg
import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.disk_guard import is_disk_full
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import DATABASE_AWAY
from lapel.foundation.queue.death_charges import MOST_DEATHS, DeathCharges, LeaseLost
from lapel.foundation.queue.expected_faults import tell_fault
from lapel.foundation.queue.places import Places
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.slices.recordings.service import audio_of
from lapel.slices.transcription.payloads import AT_ONCE, LANES
from lapel.slices.transcription.speech.at_audio import NOTE
from lapel.slices.transcription.speech.failures import DiskFull, Gone, SpeechError, TryAgain, TurnOver
from lapel.slices.transcription.work import lifecycle, work_queries
from lapel.slices.transcription.work.lease import StepProgress, claim_next, keep_lease
from lapel.slices.transcription.work.retries import wait_after
from lapel.slices.transcription.work.steps import Ending, Steps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.recordings.service import Audio
    from lapel.slices.transcription.payloads import Lane
    from lapel.slices.transcription.rows import ClaimRow
    from lapel.slices.transcription.speech.failures import Code
    from lapel.slices.transcription.work.tools import WorkerStages

# A step that has more turns than this fails. A file gets at most 1,200 seconds of decoding (2,400 turns of
# half a second), and the decoding may have to begin anew.
_MAX_TURNS = 10_000
# Longest wait, in seconds, of a file whose paused decode could not be kept, because too many are paused. The
# wait is one second at first, and a second more after each turn.
_CROWDED = 5
# Seconds for which a job does one step after the other. It must be less than the job's time limit.
_STAY_SECONDS = 3_600.0
_OUTAGE = timedelta(seconds=5)
# Time between two tries on a full disk; each try may fetch a whole audio.
_FULL = timedelta(seconds=30)
# How long, and how often, the end of a step is tried while the database is away.
_END_SECONDS, _END_PAUSE_SECONDS = 60.0, 0.3
# Longest wait, in seconds, for the steps that a stopping worker puts back. Other leases end by themselves.
_STOP_SECONDS = 2.0
_MAX_WOKEN = 100

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Runner:
    """Does steps, as many in parallel as there are jobs that call `work`."""

    def __init__(
        self, ports: Ports, stages: WorkerStages, on_complete: Sequence[lifecycle.OnComplete] = ()
    ) -> None:
        """`on_complete`: hooks, called in the transaction that completes a transcription."""
        self._ports = ports
        self._stages = stages
        self._steps = Steps(ports, stages, on_complete)
        self._charges = DeathCharges(
            ports.database, charge=work_queries.CHARGE, take_back=work_queries.TAKE_BACK
        )
        self._under_way: set[asyncio.Task[None]] = set()
        self._running: set[asyncio.Task[Ending]] = set()
        self._stopping = False
        self._models = asyncio.Lock()
        self._name = secrets.token_hex(8)
        self._places: dict[Lane, Places[int]] = {lane: Places(AT_ONCE[lane]) for lane in LANES}
        self._claiming: defaultdict[Lane, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def start(self) -> None:
        """Adopt or remove files that killed workers left on the disk. Call this before `work`."""
        await self._stages.scratch.start()

    async def work(self, lane: Lane) -> None:
        """Do one step of the lane after the other, while any is free, for an hour at most.

        A job can end without a step although steps are free, if their worlds may have no further place. So
        the job that ends a step also does the next one. Raises Unavailable when the database is away.
        """
        until = time.monotonic() + _STAY_SECONDS
        while (claim := await self.run(lane)) is not None:
            if time.monotonic() > until:
                async with self._ports.database.transaction() as connection:
                    await lifecycle.wake(connection, lane, claim.world_id, claim.id, claim.stage)
                return

    async def run(self, lane: Lane) -> ClaimRow | None:
        """Do one step of the lane and return it; None if no step is free.

        If the call is cancelled, its step goes on and ends as any other: jobs are cancelled when the queue
        loses the database for a moment, and a step may have loaded a model and worked for long.
        Raises Unavailable when the database is away: the lease then ends by itself.
        """
        async with AsyncExitStack() as held:
            if lane == "inference":
                # Claim a step only while holding the models. A step claimed earlier would jump ahead of a
                # project that has waited longer.
                await held.enter_async_context(self._models)
            claim = await self._claim(lane)
            if claim is None:
                return None
            held.callback(self._places[lane].give_back, claim.world_id)
            step = asyncio.create_task(self._begin(claim, held.pop_all()), name=f"speech-step-{claim.stage}")
        self._under_way.add(step)
        step.add_done_callback(self._under_way.discard)
        try:
            await asyncio.shield(step)
        except asyncio.CancelledError:
            step.add_done_callback(_tell_fault_of)
            raise
        return claim

    async def _claim(self, lane: Lane) -> ClaimRow | None:
        """The next step in order among the worlds that may have another place of this process."""
        places = self._places[lane]
        async with self._claiming[lane]:  # one after the other, so that each sees the places taken before
            if self._stopping or places.none_free:
                return None
            await self._charges.take_back()
            claim = await claim_next(self._ports, lane, self._name, places.at_their_most)
            if claim is not None:
                places.take(claim.world_id)
            return claim

    async def _begin(self, claim: ClaimRow, held: AsyncExitStack) -> None:
        """Do the claimed step, and then give back what it has `held`."""
        async with held:
            crash_point(f"{claim.stage}:claimed")
            await self._do_or_give_up(claim)

    async def _do_or_give_up(self, claim: ClaimRow) -> None:
        """Do the claimed step, unless too many workers died at it or it has used up its turns."""
        if self._stopping:  # `stop` was called during the claim
            await self._put_back(claim, timedelta(0), failed=False)
            return
        if claim.deaths >= MOST_DEATHS:
            message = f"{MOST_DEATHS} workers died while they were at this audio."
            await self._fail(claim, "processing_error", message, by_audio=True)
            return
        if claim.turns > _MAX_TURNS:
            message = "Decoding this audio takes more turns than a file may have."
            await self._fail(claim, "processing_error", message, by_audio=True)
            return
        async with self._stages.scratch.working_on(claim.world_id, claim.recording_id) as stay:
            stay.next_waits = await self._do(claim)

    async def _do(self, claim: ClaimRow) -> bool:
        """Do the claimed step and handle its faults.

        Returns whether a step that reads the audio follows in the queue.
        """
        try:
            ending = await self._attempt(claim)
            return await self._end_when_possible(claim, ending)
        except Gone:  # usually its rows are gone, too: then nothing is written
            await self._fail(claim, "processing_error", "The audio is gone.", by_audio=True)
        except SpeechError as error:
            await self._fail(claim, error.code, error.told, remedy=error.remedy)
        except (DiskFull, asyncpg.DiskFullError) as error:  # no fault of the step
            await self._wait_for_room(claim, error)
        except TryAgain as error:
            await self._try_again(claim, error)
        except TurnOver as over:
            return await self._end_turn(claim, kept=over.kept)
        except StoreUnavailable as error:  # an outage is no fault of the step
            tell_fault(_log, "speech.store_away", error, work=claim.id)
            await self._put_back(claim, _OUTAGE, failed=False)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            await self._put_back(claim, timedelta(0), failed=False)
        return False

    async def stop(self) -> None:
        """Put running steps back for other workers, end the child processes and remove the scratch files."""
        self._stopping = True
        for task in self._running:
            task.cancel()
        await self._stages.close()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_STOP_SECONDS)

    async def sweep(self) -> None:
        """Queue jobs for free steps that have none, because their worker was killed or their job was lost.

        Raises Unavailable when the database is away.
        """
        async with self._ports.database.transaction() as connection:
            for row in await work_queries.lacking(connection):
                for _ in range(min(max(row.lacking, 0), _MAX_WOKEN)):
                    await lifecycle.wake(connection, row.lane, row.world_id, row.id, "probe")

    async def _attempt(self, claim: ClaimRow) -> Ending:
        """Do the step as long as this worker has its lease.

        Raises the step's own errors (see `Steps.do`), DiskFull for a full disk, TryAgain for an unknown
        fault, and Gone when another worker has taken over the step.
        """
        progress = StepProgress()
        context = copy_context()
        context.run(NOTE.set, lambda: self._at_audio(claim))
        doing = asyncio.create_task(
            self._steps.do(claim, progress), name=f"speech-{claim.stage}", context=context
        )
        keeping = asyncio.create_task(keep_lease(self._ports.database, claim, progress), name="speech-lease")
        self._running.add(doing)
        try:
            await asyncio.wait({doing, keeping}, return_when=asyncio.FIRST_COMPLETED)
            crash_point(f"{claim.stage}:done")
            if doing.done():
                return doing.result()
        except (SpeechError, TryAgain, TurnOver, StoreUnavailable, Gone, asyncpg.DiskFullError):
            raise
        except Exception as error:
            if is_disk_full(error):
                raise DiskFull(f"{error}.") from error
            if isinstance(error, (Unavailable, *DATABASE_AWAY)):
                raise
            _log.exception("speech.failed", work=claim.id, stage=claim.stage)
            raise TryAgain("processing_error", "The work on this audio failed inside the server.") from error
        finally:
            self._running.discard(doing)
            for task in (doing, keeping):
                task.cancel()
            await asyncio.gather(doing, keeping, return_exceptions=True)
        raise Gone  # the lease is lost

    @asynccontextmanager
    async def _at_audio(self, claim: ClaimRow) -> AsyncGenerator[None]:
        """Charge the audio of the step with this worker's death during the block. See `at_audio`."""
        try:
            async with self._charges.at(claim.world_id, claim.id, claim.lease):
                yield
        except LeaseLost:
            raise Gone from None

    async def _end_when_possible(self, claim: ClaimRow, ending: Ending) -> bool:
        """As `_end`, but if the database is away, try again for a while, because the work would be lost.

        Raises Unavailable when the outage lasts, or the worker stops.
        """
        until = time.monotonic() + _END_SECONDS
        while True:
            try:
                return await self._end(claim, ending)
            except (Unavailable, *DATABASE_AWAY) as error:
                if self._stopping or time.monotonic() > until:
                    raise
                tell_fault(_log, "speech.end_waits", error, of_driver=True, work=claim.id)
                await asyncio.sleep(_END_PAUSE_SECONDS)

    async def _end(self, claim: ClaimRow, ending: Ending) -> bool:
        """Write the result, if this worker still has the lease.

        Returns whether a step that reads the audio follows in the queue. Raises Gone when the step changes
        the recording (`probe`, `finish`) and the recording or its audio is deleted.
        """
        async with self._ports.database.transaction() as connection:
            if claim.stage in ("probe", "finish") and await _lock_audio(connection, claim) is None:
                raise Gone
            if not await work_queries.lock(connection, claim):
                return False
            await ending.write(connection)
            following = ending.next
            if ending.admit is not None and not await ending.admit(connection):
                following = None
            if following is None:
                await work_queries.delete(connection, claim.world_id, claim.id)
            else:
                await work_queries.move(
                    connection,
                    claim,
                    lane=following.lane,
                    stage=following.stage,
                    piece=following.piece,
                    engine=following.engine,
                )
                await lifecycle.wake(connection, following.lane, claim.world_id, claim.id, following.stage)
            crash_point(f"{claim.stage}:before-commit")
        crash_point(f"{claim.stage}:committed")
        return following is not None and following.reads_audio

    async def _fail(
        self, claim: ClaimRow, code: Code, message: str, *, remedy: str = "", by_audio: bool = False
    ) -> None:
        """End the step and its transcription as failed. If the step is the probe, store the audio's fault.

        `remedy`: for the log alone, because clients see the message.
        """
        now = self._ports.clock.now()
        async with self._ports.database.transaction() as connection:
            audio = await _lock_audio(connection, claim) if claim.stage == "probe" else None
            if not await work_queries.lock(connection, claim):
                return
            if audio is not None:
                await lifecycle.write_fault(connection, audio, code, message, now)
            if claim.transcription_id is not None:
                ended = (claim.world_id, claim.transcription_id, code, message)
                await lifecycle.fail(connection, self._ports, *ended, by_audio=by_audio)
            await work_queries.delete(connection, claim.world_id, claim.id)
        _log.warning(
            "speech.gave_up",
            work=claim.id,
            stage=claim.stage,
            code=code,
            error=message,
            remedy=remedy or None,
        )

    async def _try_again(self, claim: ClaimRow, error: TryAgain) -> None:
        after = wait_after(claim.failures + 1, error)
        if after is None:
            await self._fail(claim, error.code, error.message)
            return
        _log.warning(
            "speech.tries_again",
            work=claim.id,
            stage=claim.stage,
            after=after.total_seconds(),
            error=str(error),
        )
        await self._put_back(claim, after, failed=True)

    async def _wait_for_room(self, claim: ClaimRow, error: Exception) -> None:
        """Put the step back, again and again, until the operator has made room on the disk."""
        _log.error(
            "speech.disk_full",
            work=claim.id,
            stage=claim.stage,
            error=str(error),
            scratch=str(self._stages.scratch.root),
            remedy="Free some of the disk, or name another folder in LAPEL_SCRATCH_DIR and start again.",
        )
        await self._put_back(claim, _FULL, failed=False, waits_for_room=True)

    async def _end_turn(self, claim: ClaimRow, *, kept: bool) -> bool:
        """Put the step back for its next turn. Returns whether this process keeps its paused decode.

        If so, no job is queued, because the job that did this turn claims the next step.
        """
        async with self._ports.database.transaction() as connection:
            wait = 0 if kept else min(claim.turns + 1, _CROWDED)
            after, worker = timedelta(seconds=wait), self._name if kept else None
            ours = await work_queries.put_back(
                connection, claim, after, failed=False, turn=True, worker=worker
            )
            if ours and not kept:
                await lifecycle.wake(
                    connection, claim.lane, claim.world_id, claim.id, claim.stage, after=after
                )
        return ours and kept

    async def _put_back(
        self, claim: ClaimRow, after: timedelta, *, failed: bool, waits_for_room: bool = False
    ) -> None:
        async with self._ports.database.transaction() as connection:
            if await work_queries.put_back(
                connection, claim, after, failed=failed, waits_for_room=waits_for_room
            ):
                await lifecycle.wake(
                    connection, claim.lane, claim.world_id, claim.id, claim.stage, after=after or None
                )


async def _lock_audio(connection: Connection, claim: ClaimRow) -> Audio | None:
    """The audio, with its recording locked until the transaction ends; None if the audio is deleted.

    All code that writes or refers to a recording locks the recording first and the work on it second. A
    deletion uses the same order.
    """
    return await audio_of(connection, claim.world_id, claim.recording_id, claim.media_id, lock=True)


def _tell_fault_of(step: asyncio.Task[None]) -> None:
    """Log the fault of a step whose job nobody waits for any more."""
    if not step.cancelled() and (error := step.exception()) is not None:
        tell_fault(_log, "speech.step_failed", error, of_driver=True)
