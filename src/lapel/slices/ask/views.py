"""Converts rows to the contract's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import timestamp
from lapel.slices.ask.wire import (
    AskAnswer,
    AskMessage,
    AskScope,
    AskSession,
    AskTokens,
    CreatedAskSession,
    Part,
    TextPart,
)
from lapel.slices.search.service import FoundPassage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.slices.ask.rows import MessageRow, SessionRow

decode_parts = msgspec.json.Decoder(list[Part]).decode
_decode_sources = msgspec.json.Decoder(list[FoundPassage]).decode
_encode = msgspec.json.Encoder().encode


def session_of(row: SessionRow) -> AskSession:
    """A session as the API shows it."""
    return AskSession(
        id=row.id,
        project_id=row.project_id,
        end_user_id=row.end_user_id,
        scope=AskScope(
            type=row.scope_type, recording_ids=row.recording_ids, recording_title=row.recording_title
        ),
        title=row.title,
        message_count=row.message_count,
        last_message_at=timestamp(row.last_message_at),
        last_model=row.last_model,
        last_provider=row.last_provider,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
    )


def message_of(row: MessageRow) -> AskMessage:
    """A message as the API shows it."""
    return AskMessage(
        id=row.id,
        session_id=row.session_id,
        role=row.role,
        content=row.content,
        parts=decode_parts(row.parts),
        tokens=AskTokens(input=row.tokens_input, output=row.tokens_output, cached=row.tokens_cached),
        model=row.model,
        provider=row.provider,
        finish_reason=row.finish_reason,
        created_at=timestamp(row.created_at),
    )


def answer_of(row: MessageRow) -> AskAnswer:
    """The answer to a POST, also to a repeated one."""
    sources = _decode_sources(row.sources or b"[]")
    return AskAnswer(session_id=row.session_id, message=message_of(row), sources=sources)


def created_session(made: AskSession | AskAnswer) -> CreatedAskSession:
    """The answer to the POST of a session, without or with a first message."""
    return CreatedAskSession(**msgspec.structs.asdict(made))


def stored_parts(parts: Sequence[Part]) -> bytes:
    """Parts as they are stored."""
    return _encode(parts)


def stored_sources(found: Sequence[FoundPassage]) -> bytes:
    """What an answer was searched in, as it is stored."""
    return _encode(found)


def content_of(parts: Sequence[Part]) -> str:
    """The text of a message."""
    return "".join(part.text for part in parts if isinstance(part, TextPart))
