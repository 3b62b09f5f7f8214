"""An answer as server-sent events, while it is made and after that, from any process.

The `id` of an event is the answer's id with a place in the answer: the number of the part, and the characters
of this part that are sent. So a client that connects again, to any process, gets every character once.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lapel.foundation.core.errors import ApiError, InvalidRequest, NotFound
from lapel.slices.ask import message_queries
from lapel.slices.ask.answering import answer_queries
from lapel.slices.ask.views import answer_of, decode_parts
from lapel.slices.ask.wire import AskAnswer, CitationPart, Part, TextPart

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from lapel.foundation.ports import Ports
    from lapel.slices.ask.composing.answer_progress import AnswerProgress

# A quiet stream sends a comment this often.
PING_SECONDS = 10.0
# How often the row of an answer is read that another process makes.
_POLL_SECONDS = 0.3
_ID = re.compile(r"(msg_[A-Za-z0-9]{1,64})\.([0-9]{1,6})\.([0-9]{1,7})\Z")
_encode = msgspec.json.Encoder().encode

LOST = ("unavailable", "The process that made the answer does not answer any more. Ask again.")


class StreamPlace(NamedTuple):
    """Where a client is in an answer."""

    answer_id: str
    part: int
    characters: int

    @property
    def id(self) -> str:
        """The `id` of the event that ends here."""
        return f"{self.answer_id}.{self.part}.{self.characters}"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """An answer at one moment. `answer`: once it is stored. `error`: code and message, once it failed."""

    parts: Sequence[Part]
    has_begun: bool = True
    answer: AskAnswer | None = None
    error: tuple[str, str] | None = None


class _Start(msgspec.Struct, frozen=True):
    session_id: str
    message_id: str


class _TextPiece(msgspec.Struct, frozen=True):
    text: str


class _AnswerError(msgspec.Struct, frozen=True):
    code: str
    message: str


class _Envelope(msgspec.Struct, frozen=True):
    error: _AnswerError


def place_of(event_id: str) -> StreamPlace:
    """The place of an event. Raises InvalidRequest for an id that no stream of answers sends."""
    found = _ID.match(event_id)
    if found is None:
        raise InvalidRequest("No event of an answer has this id.", param="Last-Event-ID")
    return StreamPlace(found[1], int(found[2]), int(found[3]))


class Following:
    """Streams of answers."""

    def __init__(self, ports: Ports, *, ping: float = PING_SECONDS) -> None:
        self._ports = ports
        self._ping = ping

    async def follow(
        self, world_id: int, session_id: str, place: StreamPlace, progress: AnswerProgress | None
    ) -> AsyncGenerator[bytes]:
        """The events of an answer from a place on, until its end.

        `progress`: the answer, if this process makes it. Raises NotFound when there is no such answer, and
        Unavailable while the database is unavailable.
        """
        loop = asyncio.get_running_loop()
        started = place.part > 0 or place.characters > 0
        quiet_until = loop.time() + self._ping
        if progress is not None:  # the first piece sends the head of the response
            yield b": answer %b\n\n" % place.answer_id.encode()
        while True:
            changed = None if progress is None else progress.changed
            state = await self._state(world_id, session_id, place.answer_id, progress)
            sent: list[bytes] = []
            if not started and (state.has_begun or state.answer is not None):
                started = True
                sent.append(_event("message.start", place.id, _Start(session_id, place.answer_id)))
            place = _tell(state.parts, place, sent)
            ended = _end(state, place)
            if ended is not None:
                yield b"".join([*sent, ended])
                return
            if sent:
                yield b"".join(sent)
                quiet_until = loop.time() + self._ping
            elif loop.time() >= quiet_until:
                yield b": ping\n\n"
                quiet_until = loop.time() + self._ping
            await _wait(changed, quiet_until)

    async def _state(
        self, world_id: int, session_id: str, answer_id: str, progress: AnswerProgress | None
    ) -> State:
        if progress is not None:
            return await _state_here(progress)
        async with self._ports.database.acquire() as connection:
            row = await answer_queries.read(connection, world_id, session_id, answer_id)
            if row is None:
                stored = await message_queries.read(connection, world_id, session_id, answer_id)
                if stored is None or stored.role != "assistant":
                    raise NotFound("This session has no such answer.")
                answer = answer_of(stored)
                return State(parts=answer.message.parts, answer=answer)
        if row.lost:
            return State(parts=[], has_begun=False, error=LOST)
        if row.state == "failed":
            return State(
                parts=[], has_begun=False, error=(row.error_code or "internal_error", row.error_message or "")
            )
        return State(parts=decode_parts(row.parts), has_begun=row.state == "running")


async def _state_here(progress: AnswerProgress) -> State:
    if not progress.outcome.done():
        return State(parts=progress.parts, has_begun=progress.has_begun)
    try:
        answer = await progress.outcome
    except ApiError as error:
        return State(parts=[], has_begun=False, error=(error.code, error.message))
    return State(parts=answer.message.parts, answer=answer)


def _tell(parts: Sequence[Part], place: StreamPlace, sent: list[bytes]) -> StreamPlace:
    """Add the events after a place. Returns the place after them."""
    for number, part in enumerate(parts[place.part :], start=place.part):
        done = place.characters if number == place.part else 0
        match part:
            case TextPart():
                if len(part.text) > done:
                    place = StreamPlace(place.answer_id, number, len(part.text))
                    sent.append(_event("text.delta", place.id, _TextPiece(part.text[done:])))
                if number + 1 < len(parts):
                    place = StreamPlace(place.answer_id, number + 1, 0)
            case CitationPart():
                place = StreamPlace(place.answer_id, number + 1, 0)
                sent.append(_event("citation", place.id, part))
    return place


def _end(state: State, place: StreamPlace) -> bytes | None:
    if state.error is not None:
        return _event("error", place.id, _Envelope(_AnswerError(*state.error)))
    if state.answer is not None:
        return _event("message.completed", place.id, state.answer)
    return None


def _event(name: str, event_id: str, data: msgspec.Struct) -> bytes:
    return b"event: %b\nid: %b\ndata: %b\n\n" % (name.encode(), event_id.encode(), _encode(data))


async def _wait(changed: asyncio.Event | None, until: float) -> None:
    """Wait for the next change, or until the row is to be read again."""
    if changed is None:
        await asyncio.sleep(_POLL_SECONDS)
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            await changed.wait()
