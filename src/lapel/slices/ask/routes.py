"""Ask over HTTP.

A key scoped to one end user asks about, and sees, only that end user's sessions. An end-user token
only reads.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict, PayloadTooLarge
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.calls import Reply
from lapel.foundation.http.input.pagination import PageQuery
from lapel.foundation.http.routes import Routes
from lapel.slices.ask.errors import ProviderError
from lapel.slices.ask.views import created_session
from lapel.slices.ask.wire import (
    AnswerStreamQuery,
    AskAnswer,
    AskMessagePage,
    AskQuestion,
    AskSession,
    AskSessionPage,
    AskSessionQuery,
    CreateAskSession,
    CreatedAskSession,
    StoppedAnswer,
    UpdateAskSession,
)
from lapel.slices.end_users.service import READERS
from lapel.slices.transcription.errors import TranscriptNotReady

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.http.calls import LastingCall, NoQuery
    from lapel.foundation.http.operations import Operation
    from lapel.slices.ask.service import Ask

_READ = Access("ask:read", READERS, "filter")
_WRITE = Access("ask:write", end_user_keys="filter")
# Clients of the public API ask with keys that have only `recordings:read`. Such a key renames and deletes no
# session, because the session may be another caller's.
_STOP = replace(_WRITE, or_scope="recordings:read")
# An end user asks through an assistant; the routes themselves are read-only for its token.
_ASK = replace(_STOP, inside=frozenset({"end_user"}))
_CREATE = replace(_ASK, end_user_keys="imply")
_ROUTES = Routes("Ask", read=_READ, write=_WRITE)
_ALL = "/v1/ask/sessions"
_ONE = f"{_ALL}/{{session_id}}"
_MESSAGES = f"{_ONE}/messages"


def operations(service: Ask) -> tuple[Operation, ...]:
    """All routes of sessions and messages."""
    return (*_sessions(service), *_messages(service))


def _sessions(service: Ask) -> tuple[Operation, ...]:
    return (
        _ROUTES.post(_ALL, "create_ask_session", CreatedAskSession, CreateAskSession, access=_CREATE).lasting(
            "Create a session",
            lambda call: _create(service, call),
            "A session about one recording, selected recordings, or all recordings of an end user. A session "
            "about one recording belongs to the recording's end user; the others need `end_user_id`. With "
            "`initial_message`, the answer to it comes instead of the session, and a session is made only if "
            "there is an answer.",
            status=201,
            errors=(TranscriptNotReady, Conflict, PayloadTooLarge, ProviderError),
            audit="ask_session.created",
        ),
        _ROUTES.get(_ALL, "list_ask_sessions", AskSessionPage, AskSessionQuery).plain(
            "List sessions",
            lambda call: service.list(call.actor, call.query),
            "Latest activity first. `recording_id` finds the sessions about this recording, and those about "
            "selected recordings that hold it. `q` finds a part of the title, in upper or lower case.",
        ),
        _ROUTES.get(_ONE, "get_ask_session", AskSession).plain(
            "Read a session", lambda call: service.read(call.actor, call.id)
        ),
        _ROUTES.patch(_ONE, "update_ask_session", AskSession, UpdateAskSession).plain(
            "Change a session's title",
            lambda call: service.update(call.actor, call.id, call.body),
            "White space around the title is dropped.",
            audit="ask_session.updated",
        ),
        _ROUTES.delete(_ONE, "delete_ask_session").plain(
            "Delete a session",
            lambda call: service.delete(call.actor, call.id),
            "Its messages go with it, and an answer that is being made ends.",
            audit="ask_session.deleted",
        ),
    )


def _messages(service: Ask) -> tuple[Operation, ...]:
    return (
        _ROUTES.post(_MESSAGES, "create_ask_message", AskAnswer, AskQuestion, access=_ASK).lasting(
            "Ask a question",
            lambda call: _ask(service, call),
            "The answer rests on what was said in the session's recordings, and cites where. If the "
            "recordings do not support an answer, it says so. Questions of one session are answered one "
            "after the other. With `stream`, or with `Accept: text/event-stream`, the answer comes as "
            "server-sent events while it is made: `message.start`, `text.delta`, `citation`, "
            "`message.completed` with the whole answer, or `error`. The answer is made and stored whole, "
            "also if the client leaves.",
            errors=(TranscriptNotReady, Conflict, PayloadTooLarge, ProviderError),
            audit="ask_message.created",
        ),
        _ROUTES.get(_MESSAGES, "list_ask_messages", AskMessagePage, PageQuery).plain(
            "List messages",
            lambda call: service.messages(call.actor, call.id, call.query),
            "Oldest first: each question, and then its answer.",
        ),
        _ROUTES.get(f"{_MESSAGES}/stream", "stream_ask_message", query=AnswerStreamQuery).stream(
            "Follow an answer",
            lambda call: service.follow(call.actor, call.id, call.query.message_id, call.last_event_id),
            "The events of an answer that is being made, or that was made, as after `stream` in the POST. "
            "With `Last-Event-ID` the answer continues after that event, whichever process makes it. Without "
            "`message_id`: the answer that is being made, else the newest one.",
        ),
        _ROUTES.post(f"{_MESSAGES}/stop", "stop_ask_message", StoppedAnswer, access=_STOP).plain(
            "Stop the answer that is being made",
            lambda call: service.stop(call.actor, call.id),
            "What was said so far is stored, with the `finish_reason` `length`. An answer that had said "
            "nothing is not stored, and the request that asked for it gets 409.",
            natural=True,
            unaudited="The message that it ends has an entry of its own.",
        ),
    )


async def _create(service: Ask, call: LastingCall[NoQuery, CreateAskSession]) -> Reply[CreatedAskSession]:
    return Reply(created_session(await service.create(call.actor, call.body, call.claim)))


async def _ask(
    service: Ask, call: LastingCall[NoQuery, AskQuestion]
) -> Reply[AskAnswer] | AsyncGenerator[bytes]:
    if call.body.stream or call.streamed:
        return service.stream(call.actor, call.id, call.body, call.claim)
    return Reply(await service.ask(call.actor, call.id, call.body, call.claim))
