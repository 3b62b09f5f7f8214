"""Makes summaries: claims the next one in order, makes it, and writes the result.

A summary is leased to a worker for a short time, and the worker renews the lease as long as it lives. So
when a worker is killed, its summary is soon free again, and another worker makes it. A worker without the
lease writes nothing, so no summary ends twice. docs/decisions/0005 gives the reasons for the order.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import DATABASE_AWAY
from lapel.foundation.queue.death_charges import MOST_DEATHS, DeathCharges, LeaseLost
from lapel.foundation.queue.places import Places
from lapel.slices.embeddings.service import EmbeddingsAway, OwnMeanings
from lapel.slices.language_models.service import ModelAway, ModelFailed, told_to_client, told_to_log
from lapel.slices.recordings.service import lock_recording
from lapel.slices.summaries import queries
from lapel.slices.summaries.payloads import AT_ONCE
from lapel.slices.summaries.templates.builtin import of_prompt
from lapel.slices.summaries.templates.service import is_there, template_of
from lapel.slices.summaries.work import summary_lifecycle, summary_work_queries
from lapel.slices.summaries.work.summary_writing import MadeSummary, SummaryFailed, make_summary
from lapel.slices.transcription.service import language_of_transcription, segments_of_transcription

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.configuration.service import Configuration
    from lapel.slices.embeddings.service import Embeddings
    from lapel.slices.language_models.service import AskedSlot, LanguageModels
    from lapel.slices.summaries.rows import SummaryRow, WorkRow
    from lapel.slices.summaries.templates.builtin import Template
    from lapel.slices.summaries.wire import Code

# Length of a lease, and the time between two renewals in seconds.
LEASE = timedelta(seconds=6)
_RENEW_SECONDS = 1.5
# The time for which failed tries are repeated, and the longest pause between two of them.
_PATIENCE = timedelta(minutes=40)
_LONGEST_PAUSE = 300.0
# Tries that fail inside the server end sooner.
_MAX_FAULTS = 8
# The most seconds of one try; the parts that are done by then stay done.
_LONGEST_TRY = 1_800.0
# Seconds for which a job makes one summary after the other. It must be less than the job's time limit.
_STAY_SECONDS = 3_600.0
_MAX_WOKEN = 100

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class _Gone(Exception):
    """Nothing is left to do: the recording was deleted, or another worker has the summary."""


class _TryAgain(Exception):
    """This try failed, and another one may succeed. `after`: the shortest wait in seconds."""

    def __init__(self, code: Code, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message
        self.after = after


class _KeptParts:
    """Keeps in the database what a model wrote about parts of a summary."""

    def __init__(self, ports: Ports, work: WorkRow) -> None:
        self._ports = ports
        self._work = work
        self.written = 0

    async def read(self, name: str) -> bytes | None:
        async with self._ports.database.acquire() as connection:
            return await summary_work_queries.read_part(connection, self._work.world_id, self._work.id, name)

    async def write(self, name: str, result: bytes) -> None:
        async with self._ports.database.transaction() as connection:
            await summary_work_queries.put_part(connection, self._work, name, result)
        self.written += 1
        crash_point("summary:part")


@contextmanager
def _told_of_failures(summary_id: str, slot: AskedSlot) -> Generator[None]:
    """Logs the failures of a slot's model, and raises _TryAgain and SummaryFailed in words for clients."""
    try:
        yield
    except ModelAway as away:
        _log.warning("summaries.model_away", summary=summary_id, **told_to_log(away, slot))
        raise _TryAgain("provider_error", told_to_client(away, slot), after=away.after) from away
    except ModelFailed as failed:
        _log.warning("summaries.model_failed", summary=summary_id, **told_to_log(failed, slot))
        raise SummaryFailed("provider_error", told_to_client(failed, slot)) from failed


def _result(doing: asyncio.Task[MadeSummary], keeping: asyncio.Task[None]) -> MadeSummary:
    """What the first of these tasks came to. Raises what `doing` raises, _Gone when the lease is lost, and
    _TryAgain when neither has ended."""
    if doing.done():
        return doing.result()
    if not keeping.done():
        raise _TryAgain("provider_error", "The language model did not answer in time.")
    keeping.result()  # the database may be away
    raise _Gone


class SummaryRunner:
    """Makes summaries, as many in parallel as there are jobs that call `work`."""

    def __init__(
        self, ports: Ports, models: LanguageModels, embeddings: Embeddings, configuration: Configuration
    ) -> None:
        self._configuration = configuration
        self._ports = ports
        self._models = models
        self._meanings = OwnMeanings(embeddings)
        self._places = Places[int](AT_ONCE)
        self._charges = DeathCharges(
            ports.database, charge=summary_work_queries.CHARGE, take_back=summary_work_queries.TAKE_BACK
        )
        self._claiming = asyncio.Lock()
        self._running: set[asyncio.Task[MadeSummary]] = set()
        self._stopping = False

    async def start(self) -> None:
        """Nothing has to be prepared."""

    async def stop(self) -> None:
        """Put running summaries back for other workers."""
        self._stopping = True
        for task in self._running:
            task.cancel()

    async def work(self) -> None:
        """Make one summary after the other, while any is free, for an hour at most.

        Raises Unavailable when the database is away.
        """
        until = time.monotonic() + _STAY_SECONDS
        while (work := await self.run()) is not None:
            if time.monotonic() > until:
                async with self._ports.database.transaction() as connection:
                    await summary_lifecycle.wake(connection, work.world_id, work.id)
                return

    async def run(self) -> WorkRow | None:
        """Make one summary and return its work; None if none is free.

        Raises Unavailable when the database is away: the lease then ends by itself.
        """
        work = await self._claim()
        if work is None:
            return None
        try:
            crash_point("summary:claimed")
            await self._do(work)
        finally:
            self._places.give_back(work.world_id)
        return work

    async def sweep(self) -> None:
        """Queue jobs for free work that has none, because its worker was killed or its job was lost.

        Raises Unavailable when the database is away.
        """
        async with self._ports.database.transaction() as connection:
            row = await summary_work_queries.lacking(connection)
            if row is not None:
                for _ in range(min(max(row.lacking, 0), _MAX_WOKEN)):
                    await summary_lifecycle.wake(connection, row.world_id, row.id)

    async def _claim(self) -> WorkRow | None:
        """The next work in order among the worlds that may have another place of this process."""
        async with self._claiming:
            if self._stopping or self._places.none_free:
                return None
            await self._charges.take_back()
            async with self._ports.database.transaction() as connection:
                work = await summary_work_queries.claim(
                    connection, secrets.token_hex(8), LEASE, self._places.at_their_most
                )
                if work is not None:
                    await summary_lifecycle.start(connection, self._ports, work.world_id, work.id)
            if work is not None:
                self._places.take(work.world_id)
            return work

    async def _do(self, work: WorkRow) -> None:
        """Make the claimed summary and handle its faults."""
        if self._stopping:
            await self._put_back(work, timedelta(0), failed=False)
            return
        if work.deaths >= MOST_DEATHS:
            message = f"{MOST_DEATHS} workers died while they were at this summary."
            await self._fail(work, "processing_error", message)
            return
        parts = _KeptParts(self._ports, work)
        try:
            made = await self._attempt(work, parts)
            crash_point("summary:written")
            await self._complete(work, made)
        except _Gone:
            await self._forget(work)
        except SummaryFailed as failed:
            await self._fail(work, failed.code, failed.message)
        except _TryAgain as fault:
            await self._try_again(work, fault, progressed=parts.written > 0)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            await self._put_back(work, timedelta(0), failed=False)

    async def _attempt(self, work: WorkRow, parts: _KeptParts) -> MadeSummary:
        """Make the summary as long as this worker has its lease.

        Raises SummaryFailed, _TryAgain, _Gone, and Unavailable when the database is away.
        """
        doing = asyncio.create_task(self._make_charged(work, parts), name="summary")
        keeping = asyncio.create_task(self._keep(work), name="summary-lease")
        self._running.add(doing)
        try:
            await asyncio.wait({doing, keeping}, timeout=_LONGEST_TRY, return_when=asyncio.FIRST_COMPLETED)
            return _result(doing, keeping)
        except EmbeddingsAway as away:
            raise _TryAgain("processing_error", "The embedding model ended its work early.") from away
        except (SummaryFailed, _TryAgain, _Gone, Unavailable, *DATABASE_AWAY):
            raise
        except Exception as error:
            _log.exception("summaries.failed", summary=work.id)
            raise _TryAgain(
                "processing_error", "The work on this summary failed inside the server."
            ) from error
        finally:
            self._running.discard(doing)
            for task in (doing, keeping):
                task.cancel()
            await asyncio.gather(doing, keeping, return_exceptions=True)

    async def _keep(self, work: WorkRow) -> None:
        """Renew the lease until it is lost."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            async with self._ports.database.transaction() as connection:
                if not await summary_work_queries.renew(connection, work, LEASE):
                    return

    async def _make_charged(self, work: WorkRow, parts: _KeptParts) -> MadeSummary:
        """Make the summary, which is charged with this worker's death meanwhile."""
        try:
            async with self._charges.at(work.world_id, work.id, work.lease):
                return await self._make(work, parts)
        except LeaseLost:
            raise _Gone from None

    async def _make(self, work: WorkRow, parts: _KeptParts) -> MadeSummary:
        async with self._ports.database.acquire() as connection:
            summary = await queries.read(connection, work.world_id, work.id, None)
            if summary is None:
                raise _Gone
            template = await self._template(connection, work.world_id, summary)
            of = (work.world_id, summary.transcription_id)
            segments = await segments_of_transcription(connection, *of, with_words=False)
            language = await language_of_transcription(connection, *of)
            end_user_id = await summary_work_queries.find_end_user(connection, work.world_id, work.id)
            wanted = await self._configuration.processing(connection, work.world_id, end_user_id, None)
        if segments is None:
            raise _Gone
        with _told_of_failures(work.id, summary.provider):
            async with self._models.using(work.world_id, summary.provider, purpose="summary") as model:
                return await make_summary(
                    model,
                    template,
                    segments,
                    language,
                    parts=parts,
                    meanings=self._meanings,
                    second_reader=wanted.get("second_reader"),
                )

    @staticmethod
    async def _template(connection: Connection, world_id: int, summary: SummaryRow) -> Template:
        if summary.custom_prompt is not None:
            return of_prompt(summary.custom_prompt)
        if summary.template_id is not None:
            found = await template_of(connection, world_id, summary.template_id, summary.template_version)
            if found is not None:
                return found
        raise SummaryFailed("template_not_found", "The template does not exist, or was deleted.")

    async def _complete(self, work: WorkRow, made: MadeSummary) -> None:
        """Write the result, if this worker still has the lease.

        Raises SummaryFailed when the template was deleted meanwhile.
        """
        async with self._ports.database.transaction() as connection:
            if not await self._lock(connection, work):
                return
            summary = await queries.read(connection, work.world_id, work.id, None)
            if summary is None:
                return
            if summary.template_id is not None and not await is_there(
                connection, work.world_id, summary.template_id
            ):
                raise SummaryFailed("template_not_found", "The template was deleted.")
            result = (made.model, made.output, msgspec.json.encode(made.warnings))
            await summary_lifecycle.complete(connection, self._ports, work.world_id, work.id, result)
            crash_point("summary:before-commit")
        crash_point("summary:committed")

    async def _fail(self, work: WorkRow, code: Code, message: str) -> None:
        async with self._ports.database.transaction() as connection:
            if not await self._lock(connection, work):
                return
            await summary_lifecycle.fail(connection, self._ports, work.world_id, work.id, code, message)
        _log.warning("summaries.gave_up", summary=work.id, code=code)

    async def _lock(self, connection: Connection, work: WorkRow) -> bool:
        """Lock the recording and the work. Returns whether both are still there and this worker's."""
        if await lock_recording(connection, work.world_id, work.recording_id) is None:
            await summary_work_queries.delete(connection, work.world_id, work.id)
            return False
        return await summary_work_queries.lock(connection, work)

    async def _forget(self, work: WorkRow) -> None:
        """End the work on a recording that is deleted. If another worker has the work, do nothing."""
        async with self._ports.database.transaction() as connection:
            await self._lock(connection, work)

    async def _try_again(self, work: WorkRow, fault: _TryAgain, *, progressed: bool) -> None:
        """Put the work back for its next try, or give it up. `progressed`: this try finished a part, so the
        earlier failures do not count."""
        now, failures = self._ports.clock.now(), 1 if progressed else work.failures + 1
        pause = max(min(2.0**failures, _LONGEST_PAUSE), fault.after or 0.0)
        ends = (work.failing_since or now) + _PATIENCE
        given_up = fault.code == "processing_error" and failures >= _MAX_FAULTS
        if not progressed and (given_up or now + timedelta(seconds=pause) > ends):
            await self._fail(work, fault.code, fault.message)
            return
        _log.warning("summaries.tries_again", summary=work.id, after=pause, error=str(fault))
        await self._put_back(work, timedelta(seconds=pause), failed=True, progressed=progressed)

    async def _put_back(
        self, work: WorkRow, after: timedelta, *, failed: bool, progressed: bool = False
    ) -> None:
        async with self._ports.database.transaction() as connection:
            now = self._ports.clock.now()
            if await summary_work_queries.put_back(
                connection, work, after, now, failed=failed, progressed=progressed
            ):
                await summary_lifecycle.wake(connection, work.world_id, work.id, after=after or None)
