"""The recordings that a session is about, and the end user to whom it belongs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import InvalidRequest, NotFound
from lapel.slices.ask.composing.retrieval import NOT_READY
from lapel.slices.ask.wire import MAX_RECORDINGS
from lapel.slices.end_users.service import lock_active_end_user
from lapel.slices.recordings.service import find_mentioned, share_mentioned
from lapel.slices.transcription.errors import TranscriptNotReady
from lapel.slices.transcription.service import bytes_of_transcription

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.slices.ask.answering.exchanges import PendingExchange
    from lapel.slices.ask.wire import AskedScope, ScopeType


def wanted_scope(scope: AskedScope) -> tuple[ScopeType, list[str]]:
    """The type of a scope, and its distinct recordings. Raises InvalidRequest when they do not fit."""
    match scope.type:
        case "recording":
            if scope.recording_id is None:
                raise InvalidRequest(
                    "A scope of the type `recording` needs `recording_id`.", param="scope.recording_id"
                )
            return scope.type, [scope.recording_id]
        case "selected":
            ids = list(dict.fromkeys(scope.recording_ids or ()))
            if not 1 <= len(ids) <= MAX_RECORDINGS:
                raise InvalidRequest(
                    f"A scope of the type `selected` needs 1 to {MAX_RECORDINGS} `recording_ids`.",
                    param="scope.recording_ids",
                )
            return scope.type, ids
        case "library":
            return scope.type, []


async def owner_of(
    connection: Connection, actor: Actor, kind: ScopeType, ids: Sequence[str], named: str | None
) -> str:
    """The end user of a new session. The end user and the recordings are kept until the transaction ends.

    Raises NotFound for an end user or a recording that the caller does not reach, or that do not belong
    together; InvalidRequest when no end user is named.
    """
    own = actor.end_user_id
    if own is not None and named not in (None, own):
        raise NotFound("There is no end user with this `end_user_id`.", param="end_user_id")
    wanted = named if own is None else own
    mentioned = await find_mentioned(connection, actor.world_id, ids, wanted)
    if len(mentioned) < len(ids):
        raise _unknown_recording()
    if kind == "recording":
        wanted = mentioned[0].end_user_id
    if wanted is None:
        raise InvalidRequest(
            "A session about several recordings needs `end_user_id`, beside `scope`.", param="end_user_id"
        )
    await lock_active_end_user(connection, actor.world_id, wanted)
    if len(await share_mentioned(connection, actor.world_id, ids, wanted)) < len(ids):
        raise _unknown_recording()  # deleted meanwhile
    return wanted


def _unknown_recording() -> NotFound:
    return NotFound("There is no recording with this id that belongs to the end user.", param="scope")


async def check_transcript(connection: Connection, exchange: PendingExchange) -> None:
    """Raises TranscriptNotReady when the one recording of a session has no completed transcription, NotFound
    when the recording is deleted."""
    world_id = exchange.actor.world_id
    found = await find_mentioned(connection, world_id, exchange.recording_ids, exchange.end_user_id)
    if not found:
        raise NotFound("The recording of this session is deleted.")
    current = found[0].transcription_id
    if current is None or await bytes_of_transcription(connection, world_id, current) is None:
        raise TranscriptNotReady(NOT_READY)
