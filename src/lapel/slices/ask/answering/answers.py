"""The answers that this process makes: each in a task of its own, which no client can end by leaving.

A row (`ask_answers`) tells other processes about each of them: which answer of a session is being made, its
text so far, and that its process lives. No transaction is open while a model works. The last transaction
stores question and answer, and deletes the row.

waiting -> running -> (messages, no row) | failed
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import ApiError, Conflict, NotFound, Unavailable
from lapel.foundation.http.refusals import classify
from lapel.slices.ask import message_queries, queries
from lapel.slices.ask.answering import answer_queries
from lapel.slices.ask.answering.exchanges import check_material, store_exchange, unknown_session
from lapel.slices.ask.composing.answer_progress import AnswerProgress
from lapel.slices.ask.composing.composer import Stopped
from lapel.slices.ask.errors import ProviderError
from lapel.slices.ask.questions.asked_question import AskedQuestion
from lapel.slices.ask.questions.timed_scope import zone_named
from lapel.slices.ask.views import answer_of, stored_parts
from lapel.slices.language_models.service import ModelAway, ModelFailed, told_to_client, told_to_log

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.ports import Ports
    from lapel.slices.ask.answering.exchanges import PendingExchange
    from lapel.slices.ask.composing.composer import Composed, Composer
    from lapel.slices.ask.wire import AskAnswer
    from lapel.slices.configuration.service import Configuration
    from lapel.slices.language_models.service import LanguageSlot

# What is said so far is stored this often, and the row is renewed that often.
_WRITE_SECONDS = 0.25
_RENEW_SECONDS = 2.0
# How often a waiting answer looks whether it is its turn.
_TURN_SECONDS = 0.1
# A failure is told to other processes in this time, or it is told to those who wait here alone.
_TELL_SECONDS = 2.0
# Messages that a next answer may continue.
_TURNS = 40
# Ended answers may tell for so long that they have failed.
_FAIL_SECONDS = 0.2
# Answers that this process makes at once in one world, those that wait for a model included.
MOST_OF_WORLD = 64

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Answers:
    """The tasks of this process."""

    def __init__(self, ports: Ports, composer: Composer, configuration: Configuration) -> None:
        self._ports = ports
        self._configuration = configuration
        self._composer = composer
        # The whole time of an answer; its share that may pass before its turn comes.
        self._seconds = 10 * ports.settings.answer_timeout
        self._patience = self._seconds / 3
        self._running: dict[str, tuple[AnswerProgress, asyncio.Task[None]]] = {}

    def check_room(self, world_id: int) -> None:
        """Raises Unavailable when this process already makes too many answers for a world."""
        if sum(each.world_id == world_id for each, _ in self._running.values()) >= MOST_OF_WORLD:
            raise Unavailable(
                f"This process already makes {MOST_OF_WORLD} answers for this project. Repeat the request.",
                retry_after=5,
            )

    def start(self, exchange: PendingExchange) -> AnswerProgress:
        """Begin to make an answer, whose row is committed."""
        progress = AnswerProgress(exchange.actor.world_id, exchange.session_id, exchange.answer_id)
        task = asyncio.create_task(self._run(exchange, progress), name=f"answer {exchange.answer_id}")
        self._running[exchange.answer_id] = progress, task
        task.add_done_callback(lambda _: self._running.pop(exchange.answer_id, None))
        return progress

    def progress_of(self, world_id: int, answer_id: str) -> AnswerProgress | None:
        """An answer that this process makes; None if it makes no such answer."""
        found = self._running.get(answer_id)
        return found[0] if found is not None and found[0].world_id == world_id else None

    def stop(self, world_id: int, session_id: str) -> None:
        """Stop the answers of a session that this process makes."""
        for progress, _ in list(self._running.values()):
            if (progress.world_id, progress.session_id) == (world_id, session_id):
                progress.stop_wanted.set()

    async def drain(self, seconds: float) -> None:
        """Wait until all answers have ended; after `seconds`, end those that are left. They store nothing."""
        tasks = [task for _, task in self._running.values()]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_FAIL_SECONDS)

    async def _run(self, exchange: PendingExchange, progress: AnswerProgress) -> None:
        outcome = progress.outcome
        try:
            async with asyncio.timeout(self._seconds):
                began, composed = await self._make(exchange, progress)
            answer = answer_of(await store_exchange(self._ports, exchange, began, composed))
        except asyncio.CancelledError:
            error = Unavailable("The server stops. Ask again.")
            outcome.set_exception(error)
            await self._fail(exchange, error)
            raise
        except Exception as error:  # noqa: BLE001 - every error is told to those who wait
            shown = _shown(error, exchange.slot)
            if isinstance(error, ModelFailed | ModelAway):
                _log.warning("ask.failed", answer=exchange.answer_id, **told_to_log(error, exchange.slot))
            await self._tell_failure(exchange, shown, outcome)
        else:
            outcome.set_result(answer)

    async def _tell_failure(
        self, exchange: PendingExchange, shown: ApiError, outcome: asyncio.Future[AskAnswer]
    ) -> None:
        """Tell other processes, then those who wait here: so a client may repeat its request at once."""
        try:
            async with asyncio.timeout(_TELL_SECONDS):
                await self._fail(exchange, shown)
        except TimeoutError:
            _log.warning("ask.not_told", answer=exchange.answer_id)  # the row counts as lost soon
        finally:
            outcome.set_exception(shown)

    async def _make(self, exchange: PendingExchange, progress: AnswerProgress) -> tuple[datetime, Composed]:
        """The time of the answer's turn, and the answer."""
        await self._wait_for_turn(exchange, progress)
        began = self._ports.clock.now()
        progress.begin()
        asked = await self._asked(exchange)
        crash_point("ask:running")
        composing = asyncio.create_task(self._composer.compose(asked, exchange.slot, progress))
        renewing = asyncio.create_task(self._renew(exchange, progress))
        try:
            await asyncio.wait({composing, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if not composing.done():
                await renewing  # it ends only with an error
            composed = await composing
        finally:
            for task in (composing, renewing):
                task.cancel()
            await asyncio.gather(composing, renewing, return_exceptions=True)
        crash_point("ask:composed")
        return began, composed

    async def _asked(self, exchange: PendingExchange) -> AskedQuestion:
        world_id = exchange.actor.world_id
        async with self._ports.database.acquire() as connection:
            turns = await message_queries.last_turns(connection, world_id, exchange.session_id, _TURNS)
            settings = await self._configuration.processing(connection, world_id, exchange.end_user_id, None)
        return AskedQuestion(
            world_id=world_id,
            end_user_id=exchange.end_user_id,
            scope_type=exchange.scope_type,
            recording_ids=exchange.recording_ids,
            question=exchange.question,
            asked_at=self._ports.clock.now().astimezone(zone_named(settings.get("time_zone"))),
            turns=turns,
            second_reader=settings.get("second_reader"),
        )

    async def _wait_for_turn(self, exchange: PendingExchange, progress: AnswerProgress) -> None:
        """Wait until the answers before this one in its session have ended.

        Raises Conflict when that takes too long, Stopped when the answer is stopped meanwhile.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        while not await self._has_turn(exchange, progress):
            if progress.stop_wanted.is_set():
                raise Stopped
            if loop.time() > until:
                raise Conflict("Earlier questions of this session are still being answered. Ask again.")
            await asyncio.sleep(_TURN_SECONDS)

    async def _has_turn(self, exchange: PendingExchange, progress: AnswerProgress) -> bool:
        world_id = exchange.actor.world_id
        async with self._ports.database.transaction() as connection:
            if not exchange.is_new and not await queries.lock(
                connection, world_id, exchange.actor.end_user_id, exchange.session_id
            ):
                raise unknown_session()
            stop = await answer_queries.renew(connection, world_id, exchange.answer_id, None)
            if stop is None:
                raise _given_up()
            if stop:  # asked for at another process
                progress.stop_wanted.set()
                raise Stopped
            return bool(await answer_queries.begin_if_first(connection, world_id, exchange.answer_id))

    async def _renew(self, exchange: PendingExchange, progress: AnswerProgress) -> None:
        """Renew the row while the answer is made.

        Raises Conflict when the row is gone, and what `check_material` raises.
        """
        loop = asyncio.get_running_loop()
        shown, renewed = progress.parts, loop.time()
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            parts = progress.parts
            is_new = parts is not shown
            if not is_new and loop.time() < renewed + _RENEW_SECONDS:
                continue
            written = stored_parts(parts) if is_new else None
            try:
                async with self._ports.database.acquire() as connection:
                    stop = await answer_queries.renew(
                        connection, exchange.actor.world_id, exchange.answer_id, written
                    )
                    await check_material(connection, exchange, progress.recording_ids, progress.places)
            except Unavailable:
                continue  # it is tried again at once, and the answer ends if the row is lost
            shown, renewed = parts, loop.time()
            if stop is None:
                raise _given_up()
            if stop:
                progress.stop_wanted.set()

    async def _fail(self, exchange: PendingExchange, error: ApiError) -> None:
        try:
            async with self._ports.database.acquire() as connection:
                await answer_queries.fail(
                    connection, exchange.actor.world_id, exchange.answer_id, error.code, error.message
                )
        except Exception as fault:  # noqa: BLE001 - the row counts as lost soon
            _log.warning("ask.not_told", answer=exchange.answer_id, error=repr(fault))


def _given_up() -> Conflict:
    return Conflict("The answer was given up, because its session was deleted or its process did not answer.")


def _shown(error: Exception, slot: LanguageSlot) -> ApiError:
    """The error that a client gets."""
    match error:
        case Stopped():
            return Conflict("The answer was stopped before it said anything.")
        case ModelFailed():
            return ProviderError(told_to_client(error, slot))
        case ModelAway():
            after = () if error.after is None else (("Retry-After", str(max(1, round(error.after)))),)
            return ProviderError(told_to_client(error, slot), headers=after)
        case TimeoutError():
            return ProviderError("The answer took too long to make. Ask again, or ask less at once.")
        case NotFound() if error.param is not None:
            return unknown_session()
        case _:
            return classify(error)
