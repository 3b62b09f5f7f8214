"""Sessions of questions, their messages, and the answers that are being made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Conflict, IdempotencyKeyInUse, InvalidRequest, NotFound
from lapel.foundation.database import audit
from lapel.foundation.http.input.pagination import page, place_page, read_place, window
from lapel.foundation.http.input.text_lengths import utf16_units
from lapel.slices.ask import message_queries, queries
from lapel.slices.ask.answering import answer_queries
from lapel.slices.ask.answering.answer_stream import StreamPlace, place_of
from lapel.slices.ask.answering.answers import Answers
from lapel.slices.ask.answering.exchanges import (
    NEW_TITLE,
    MadeByRequest,
    PendingExchange,
    insert_session,
    remember,
    unknown_session,
)
from lapel.slices.ask.session_scopes import check_transcript, owner_of, wanted_scope
from lapel.slices.ask.views import answer_of, message_of, session_of
from lapel.slices.ask.wire import (
    MAX_TITLE,
    AskAnswer,
    AskMessagePage,
    AskSession,
    AskSessionPage,
    AskSessionQuery,
    StoppedAnswer,
)
from lapel.slices.end_users.service import lock_active_end_user

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.calls import AnswerClaim
    from lapel.foundation.http.input.pagination import PageQuery
    from lapel.foundation.ports import Ports
    from lapel.slices.ask.answering.answer_stream import Following
    from lapel.slices.ask.composing.answer_progress import AnswerProgress
    from lapel.slices.ask.rows import SessionRow
    from lapel.slices.ask.wire import (
        AskQuestion,
        CreateAskSession,
        UpdateAskSession,
    )
    from lapel.slices.configuration.service import Configuration
    from lapel.slices.language_models.service import LanguageSlot

__all__ = ["Answers", "Ask", "AskSession", "AskSessionQuery", "erase_some_sessions"]

_DEFAULT_SLOT: LanguageSlot = "gemini"
# Answers of one session that may wait for their turn, the running one included.
_MOST_OF_SESSION = 8
_MESSAGES = "ask_messages"

_decode_stored = msgspec.json.Decoder(MadeByRequest).decode


class _ListedSession(NamedTuple):
    """A session in the order of its list: by its latest activity."""

    row: SessionRow

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def created_at(self) -> datetime:
        return self.row.last_message_at


class Ask:
    """Operations on sessions and messages.

    An end user that the caller's token is scoped to limits every one of them. Methods that open a connection
    raise Unavailable while the database is unavailable.
    """

    def __init__(
        self, ports: Ports, configuration: Configuration, answers: Answers, following: Following
    ) -> None:
        self._ports = ports
        self._configuration = configuration
        self._answers = answers
        self._following = following

    # ---- sessions

    async def create(
        self, actor: Actor, body: CreateAskSession, claim: AnswerClaim | None = None
    ) -> AskSession | AskAnswer:
        """Create a session; with a first message, also answer it.

        Raises:

        - InvalidRequest when the scope lacks what its type needs, or the end user is missing.
        - NotFound when the caller reaches no such end user or recording.
        - TranscriptNotReady when the one recording has no completed transcription, ProviderError when the
          model fails, Conflict when the answer is stopped before it said anything: no session is stored then.
        - IdempotencyKeyInUse and IdempotencyKeyReused; see AnswerClaim.
        """
        first = body.initial_message
        async with self._ports.database.transaction() as connection:
            if stored := await _repeated(connection, claim):
                return await self._again(connection, actor, stored)
            exchange = await self._new(connection, actor, body, claim)
            if first is None:
                now = self._ports.clock.now()
                await insert_session(connection, self._ports, exchange, now)
                stored = MadeByRequest(exchange.session_id)
                await remember(connection, claim, stored, is_new=True, end_user_id=exchange.end_user_id)
                return await _read(connection, actor, exchange.session_id)
            await self._admit(connection, exchange)
        return await self._wait(self._answers.start(exchange))

    async def list(self, actor: Actor, query: AskSessionQuery) -> AskSessionPage:
        """A page, latest activity first. Raises InvalidRequest if the cursor is not of this list."""
        asked = window(query, "ask_sessions")
        async with self._ports.database.acquire() as connection:
            rows = await queries.list_page(connection, actor.world_id, actor.end_user_id, asked, query)
        listed = [_ListedSession(row) for row in rows]
        data, has_more, cursor = page(listed, asked, lambda each: session_of(each.row))
        return AskSessionPage(data=data, has_more=has_more, next_cursor=cursor)

    async def read(self, actor: Actor, session_id: str) -> AskSession:
        """A session. Raises NotFound when the caller sees no such session."""
        async with self._ports.database.acquire() as connection:
            return await _read(connection, actor, session_id)

    async def update(self, actor: Actor, session_id: str, change: UpdateAskSession) -> AskSession:
        """Change the title. Raises NotFound, and InvalidRequest for a title that is blank or too long."""
        title = None if change.title is msgspec.UNSET else _checked_title(change.title)
        now = self._ports.clock.now()
        async with self._ports.database.transaction() as connection:
            before = await _locked(connection, actor, session_id)
            if title is not None and title != before.title:
                await queries.set_title(connection, actor.world_id, session_id, title, now)
                await audit.note(
                    connection,
                    self._ports.ids,
                    now,
                    actor,
                    "ask_session.updated",
                    session_id,
                    before.end_user_id,
                )
            return await _read(connection, actor, session_id)

    async def delete(self, actor: Actor, session_id: str) -> None:
        """Delete a session with its messages; an answer that is being made ends. Raises NotFound."""
        now = self._ports.clock.now()
        async with self._ports.database.transaction() as connection:
            before = await _locked(connection, actor, session_id)
            await answer_queries.delete_of_session(connection, actor.world_id, session_id)
            await queries.delete(connection, actor.world_id, session_id)
            await audit.note(
                connection, self._ports.ids, now, actor, "ask_session.deleted", session_id, before.end_user_id
            )

    # ---- messages

    async def ask(
        self, actor: Actor, session_id: str, body: AskQuestion, claim: AnswerClaim | None = None
    ) -> AskAnswer:
        """The answer to a question.

        The answer goes on when the caller is cancelled, and is stored whole. Raises:

        - NotFound when the caller sees no such session, or it is deleted meanwhile.
        - TranscriptNotReady, PayloadTooLarge, ProviderError: see docs/ask.md.
        - Conflict when too many questions of the session wait, when the answer is stopped before it said
          anything, or when what it was made from is deleted meanwhile.
        - IdempotencyKeyInUse and IdempotencyKeyReused; see AnswerClaim.
        """
        begun = await self._begin(actor, session_id, body, claim)
        if isinstance(begun, AskAnswer):
            return begun
        return await self._wait(begun)

    async def stream(
        self, actor: Actor, session_id: str, body: AskQuestion, claim: AnswerClaim | None
    ) -> AsyncGenerator[bytes]:
        """The answer as server-sent events. Raises what `ask` raises before the first of them."""
        begun = await self._begin(actor, session_id, body, claim)
        if isinstance(begun, AskAnswer):
            progress, answer_id = None, begun.message.id
        else:
            progress, answer_id = begun, begun.answer_id
        place = StreamPlace(answer_id, 0, 0)
        async for piece in self._following.follow(actor.world_id, session_id, place, progress):
            yield piece

    async def follow(
        self, actor: Actor, session_id: str, message_id: str | None, last_event_id: str | None
    ) -> AsyncGenerator[bytes]:
        """The events of an answer, from any process, after the event that the client got last.

        `message_id`: the answer; None for the one that is being made, else the newest. Raises NotFound when
        the caller sees no such session or answer, InvalidRequest for an unknown event.
        """
        place = None if not last_event_id else place_of(last_event_id)
        async with self._ports.database.acquire() as connection:
            await _read(connection, actor, session_id)
            newest = await answer_queries.find_newest(connection, actor.world_id, session_id)
        answer_id = place.answer_id if place is not None else message_id or newest
        if answer_id is None:
            raise NotFound("This session has no answer yet.")
        progress = self._answers.progress_of(actor.world_id, answer_id)
        if progress is not None and progress.session_id != session_id:
            raise NotFound("This session has no such answer.")
        place = place or StreamPlace(answer_id, 0, 0)
        async for piece in self._following.follow(actor.world_id, session_id, place, progress):
            yield piece

    async def stop(self, actor: Actor, session_id: str) -> StoppedAnswer:
        """Stop the answers of a session; what was said is stored. Raises NotFound."""
        async with self._ports.database.transaction() as connection:
            await _read(connection, actor, session_id)
            stopped = await answer_queries.stop(connection, actor.world_id, session_id)
        self._answers.stop(actor.world_id, session_id)
        return StoppedAnswer(stopped=stopped)

    async def messages(self, actor: Actor, session_id: str, query: PageQuery) -> AskMessagePage:
        """A page of messages, oldest first. Raises NotFound, and InvalidRequest for a bad cursor."""
        after = read_place(query.cursor, _MESSAGES)
        async with self._ports.database.acquire() as connection:
            await _read(connection, actor, session_id)
            rows = await message_queries.list_page(
                connection, actor.world_id, session_id, after, query.limit + 1, query.offset
            )
        data, has_more, cursor = place_page(rows, query.limit, _MESSAGES, message_of)
        return AskMessagePage(data=data, has_more=has_more, next_cursor=cursor)

    async def erase_of_recordings(
        self, connection: Connection, world_id: int, recording_ids: list[str]
    ) -> None:
        """Delete questions and answers that were made from deleted recordings, in the deleting transaction.

        The sessions about one recording go with its row.
        """
        now = self._ports.clock.now()
        await message_queries.delete_of_recordings(connection, world_id, recording_ids, NEW_TITLE, now)

    # ---- the beginning of an answer

    async def _begin(
        self, actor: Actor, session_id: str, body: AskQuestion, claim: AnswerClaim | None
    ) -> AnswerProgress | AskAnswer:
        """Begin the answer to a question, or find the answer of an earlier request."""
        async with self._ports.database.transaction() as connection:
            if stored := await _repeated(connection, claim):
                again = await self._again(connection, actor, stored)
                return cast("AskAnswer", again)
            row = await queries.read(connection, actor.world_id, actor.end_user_id, session_id)
            if row is None:
                raise unknown_session()
            exchange = PendingExchange(
                actor=actor,
                session_id=session_id,
                end_user_id=row.end_user_id,
                scope_type=row.scope_type,
                recording_ids=row.recording_ids,
                is_new=False,
                question=body.content,
                slot=body.provider or await self._slot(connection, actor, row.end_user_id),
                answer_id=self._ports.ids.new("msg"),
                claim=claim,
            )
            await lock_active_end_user(connection, actor.world_id, row.end_user_id)
            await _locked(connection, actor, session_id)
            await self._admit(connection, exchange)
        crash_point("ask:begun")
        return self._answers.start(exchange)

    async def _admit(self, connection: Connection, exchange: PendingExchange) -> None:
        """Insert the row of an answer, which keeps its place in the session."""
        world_id = exchange.actor.world_id
        self._answers.check_room(world_id)
        if exchange.scope_type == "recording":
            await check_transcript(connection, exchange)
        if await answer_queries.count_live(connection, world_id, exchange.session_id) >= _MOST_OF_SESSION:
            raise Conflict(
                "Too many questions of this session wait for an answer. Wait for the first of them."
            )
        digest = None if exchange.claim is None else exchange.claim.digest
        if digest is not None and not await answer_queries.take_claim(connection, world_id, digest):
            raise IdempotencyKeyInUse
        await answer_queries.insert(
            connection, world_id, exchange.answer_id, exchange.session_id, exchange.end_user_id, digest
        )

    async def _wait(self, progress: AnswerProgress) -> AskAnswer:
        """The answer; the task that makes it goes on when this is cancelled."""
        return await asyncio.shield(progress.outcome)

    async def _again(
        self, connection: Connection, actor: Actor, stored: MadeByRequest
    ) -> AskSession | AskAnswer:
        """The answer to a repeated request, as it is now. Raises NotFound when it is deleted."""
        session = await _read(connection, actor, stored.session_id)
        if stored.message_id is None:
            return session
        row = await message_queries.read(connection, actor.world_id, stored.session_id, stored.message_id)
        if row is None:
            raise NotFound("The answer to the first request with this Idempotency-Key is deleted.")
        return answer_of(row)

    async def _new(
        self, connection: Connection, actor: Actor, body: CreateAskSession, claim: AnswerClaim | None
    ) -> PendingExchange:
        """A session that is to be made, and its first question."""
        first = body.initial_message
        kind, ids = wanted_scope(body.scope)
        end_user_id = await owner_of(connection, actor, kind, ids, body.end_user_id)
        return PendingExchange(
            actor=actor,
            session_id=self._ports.ids.new("as"),
            end_user_id=end_user_id,
            scope_type=kind,
            recording_ids=ids,
            is_new=True,
            question="" if first is None else first.content,
            slot=(first and first.provider) or await self._slot(connection, actor, end_user_id),
            answer_id=self._ports.ids.new("msg"),
            claim=claim,
        )

    async def _slot(self, connection: Connection, actor: Actor, end_user_id: str) -> LanguageSlot:
        wanted = await self._configuration.processing(connection, actor.world_id, end_user_id, None)
        return wanted["auto_summary"]["provider"] or _DEFAULT_SLOT


async def erase_some_sessions(connection: Connection, world_id: int, end_user_id: str, limit: int) -> int:
    """Delete at most `limit` sessions and running answers of a deleted end user. Returns their number."""
    ended = await answer_queries.delete_of_end_user(connection, world_id, end_user_id, limit)
    return ended or await queries.delete_of_end_user(connection, world_id, end_user_id, limit)


async def _repeated(connection: Connection, claim: AnswerClaim | None) -> MadeByRequest | None:
    """What an earlier request with the same key made."""
    found = None if claim is None else await claim.find(connection)
    return None if found is None else _decode_stored(found)


async def _read(connection: Connection, actor: Actor, session_id: str) -> AskSession:
    row = await queries.read(connection, actor.world_id, actor.end_user_id, session_id)
    if row is None:
        raise unknown_session()
    return session_of(row)


async def _locked(connection: Connection, actor: Actor, session_id: str) -> AskSession:
    """A session that no other transaction changes until this one ends."""
    if not await queries.lock(connection, actor.world_id, actor.end_user_id, session_id):
        raise unknown_session()
    return await _read(connection, actor, session_id)


def _checked_title(title: str) -> str:
    trimmed = title.strip()
    if not 1 <= utf16_units(trimmed) <= MAX_TITLE:
        raise InvalidRequest(f"`title` takes 1 to {MAX_TITLE} characters.", param="title")
    return trimmed
