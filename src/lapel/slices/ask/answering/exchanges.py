"""Stores a question and its answer: both at once, or neither."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Conflict, NotFound
from lapel.foundation.database import audit
from lapel.slices.ask import message_queries, queries
from lapel.slices.ask.answering import answer_queries
from lapel.slices.ask.rows import MessageRow
from lapel.slices.ask.views import content_of, stored_parts, stored_sources
from lapel.slices.ask.wire import MAX_TITLE, TextPart
from lapel.slices.end_users.service import lock_active_end_user
from lapel.slices.recordings.service import find_mentioned, share_mentioned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.calls import AnswerClaim
    from lapel.foundation.ports import Ports
    from lapel.slices.ask.composing.composer import Composed
    from lapel.slices.ask.wire import ScopeType
    from lapel.slices.language_models.service import LanguageSlot

NEW_TITLE = "New chat"
_STEP = timedelta(milliseconds=1)


class PendingExchange(msgspec.Struct, frozen=True, kw_only=True):
    """A question that is being answered.

    `is_new`: the session is stored with this exchange. `answer_id`: the id that the answer will have.
    """

    actor: Actor
    session_id: str
    end_user_id: str
    scope_type: ScopeType
    recording_ids: list[str]
    is_new: bool
    question: str
    slot: LanguageSlot
    answer_id: str
    claim: AnswerClaim | None


class MadeByRequest(msgspec.Struct, frozen=True):
    """What the answer of a repeated request is made from. Without a message: a session alone."""

    session_id: str
    message_id: str | None = None


async def store_exchange(
    ports: Ports, exchange: PendingExchange, began: datetime, composed: Composed
) -> MessageRow:
    """Store both messages, and the answer for repeats of the request. Returns the row of the answer.

    `began`: when the question's turn came. Raises NotFound when the session, its end user or its recording is
    deleted by now, Conflict when a recording that the answer was made from is deleted, or an answer that it
    continues, or when another process took the answer for lost. Raises Unavailable while the database is
    unavailable.
    """
    world_id, session_id = exchange.actor.world_id, exchange.session_id
    about = exchange.end_user_id
    async with ports.database.transaction() as connection:
        if exchange.claim is not None:
            await exchange.claim.hold(connection)
        await lock_active_end_user(connection, world_id, exchange.end_user_id)
        used = await _keep_recordings(connection, exchange, composed)
        if exchange.is_new:
            await insert_session(connection, ports, exchange, began)
        elif not await queries.lock(connection, world_id, exchange.actor.end_user_id, session_id):
            raise unknown_session()
        await _check_earlier_answers(connection, exchange, composed.places)
        crash_point("ask:locked")
        if not await answer_queries.finish(connection, world_id, exchange.answer_id):
            raise Conflict("The answer was given up meanwhile. Ask again.")
        row = await _insert(connection, ports, exchange, began, composed)
        await message_queries.insert_recordings(connection, world_id, session_id, row.place, used)
        await audit.note(
            connection,
            ports.ids,
            row.created_at,
            exchange.actor,
            "ask_message.created",
            row.id,
            about,
        )
        await remember(
            connection,
            exchange.claim,
            MadeByRequest(session_id, row.id),
            is_new=exchange.is_new,
            end_user_id=about,
        )
        crash_point("ask:before-commit")
    crash_point("ask:committed")
    return row


async def insert_session(
    connection: Connection, ports: Ports, exchange: PendingExchange, now: datetime
) -> None:
    """Insert a session, with its audit entry."""
    world_id, session_id = exchange.actor.world_id, exchange.session_id
    scope = (exchange.scope_type, exchange.recording_ids)
    await queries.insert(connection, world_id, session_id, exchange.end_user_id, scope, NEW_TITLE, now)
    await audit.note(
        connection, ports.ids, now, exchange.actor, "ask_session.created", session_id, exchange.end_user_id
    )


async def remember(
    connection: Connection,
    claim: AnswerClaim | None,
    stored: MadeByRequest,
    *,
    is_new: bool,
    end_user_id: str,
) -> None:
    """Store for repeats of the request what it made: ids only, because the rest may be deleted."""
    if claim is not None:
        await claim.store(connection, 201 if is_new else 200, msgspec.json.encode(stored), end_user_id)


def unknown_session() -> NotFound:
    """The error for a session that the caller may not see, that does not exist or that is deleted."""
    return NotFound("There is no session with this id.")


async def check_material(
    connection: Connection, exchange: PendingExchange, recording_ids: Sequence[str], places: Sequence[int]
) -> None:
    """Raises NotFound and Conflict when something that an answer is being made from is deleted."""
    wanted = {*_only_recording(exchange), *recording_ids}
    left = await find_mentioned(connection, exchange.actor.world_id, sorted(wanted), exchange.end_user_id)
    _check_recordings(exchange, wanted, {each.id for each in left})
    await _check_earlier_answers(connection, exchange, places)


async def _check_earlier_answers(
    connection: Connection, exchange: PendingExchange, places: Sequence[int]
) -> None:
    world_id, session_id = exchange.actor.world_id, exchange.session_id
    if not await message_queries.are_there(connection, world_id, session_id, list(places)):
        raise Conflict("An earlier answer that this one continues was deleted meanwhile. Ask again.")


def _only_recording(exchange: PendingExchange) -> list[str]:
    return exchange.recording_ids if exchange.scope_type == "recording" else []


def _check_recordings(exchange: PendingExchange, wanted: set[str], left: set[str]) -> None:
    if not left.issuperset(_only_recording(exchange)):
        raise NotFound("The recording of this session is deleted.")
    if len(left) < len(wanted):
        raise Conflict("A recording that the answer was made from was deleted meanwhile. Ask again.")


async def _keep_recordings(
    connection: Connection, exchange: PendingExchange, composed: Composed
) -> list[str]:
    """Keep the recordings that the answer was made from until the transaction ends. Returns those with which
    the answer is to be deleted, also those of the answers that it continues.

    Raises NotFound and Conflict when one of them is deleted.
    """
    world_id = exchange.actor.world_id
    earlier = await message_queries.recordings_of_answers(
        connection, world_id, exchange.session_id, composed.places
    )
    used = sorted({*composed.recording_ids, *earlier})
    wanted = {*_only_recording(exchange), *used}
    kept = await share_mentioned(connection, world_id, sorted(wanted), exchange.end_user_id)
    _check_recordings(exchange, wanted, set(kept))
    return used


async def _insert(
    connection: Connection, ports: Ports, exchange: PendingExchange, began: datetime, composed: Composed
) -> MessageRow:
    world_id, session_id = exchange.actor.world_id, exchange.session_id
    latest = await queries.latest(connection, world_id, session_id)
    if latest is None:
        raise unknown_session()
    # The order of times is the order of places, also if the clocks of two machines differ.
    asked_at = max(began, latest.last_message_at + _STEP if latest.place else began)
    answered_at = max(ports.clock.now(), asked_at + _STEP)
    question = MessageRow(
        id=ports.ids.new("msg"),
        session_id=session_id,
        place=latest.place + 1,
        role="user",
        content=exchange.question,
        parts=stored_parts([TextPart(text=exchange.question)]),
        sources=None,
        tokens_input=None,
        tokens_output=None,
        tokens_cached=None,
        model=None,
        provider=None,
        finish_reason=None,
        created_at=asked_at,
    )
    answer = msgspec.structs.replace(
        question,
        id=exchange.answer_id,
        place=latest.place + 2,
        role="assistant",
        content=content_of(composed.parts),
        parts=stored_parts(composed.parts),
        sources=stored_sources(composed.sources),
        tokens_input=composed.tokens.input,
        tokens_output=composed.tokens.output,
        tokens_cached=composed.tokens.cached,
        model=composed.model,
        provider=exchange.slot,
        finish_reason=composed.finish_reason,
        created_at=answered_at,
    )
    title = None
    if await queries.is_untitled(connection, world_id, session_id):
        title = title_of(exchange.question)
    for each in (question, answer):
        await message_queries.insert(connection, world_id, each)
    await queries.add_exchange(
        connection, world_id, session_id, answered_at, composed.model, exchange.slot, title
    )
    return answer


def title_of(question: str) -> str | None:
    """The title that a question gives its session: its beginning; None for a blank one."""
    cut = question.encode("utf-16-le")[: 2 * MAX_TITLE].decode("utf-16-le", "ignore")
    return cut if cut.strip() else None
