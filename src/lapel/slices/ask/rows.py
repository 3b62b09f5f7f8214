"""Rows that the statements of Ask give. `parts` and `sources` are JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from lapel.slices.ask.wire import Role, ScopeType
from lapel.slices.language_models.service import FinishReason, LanguageSlot

AnswerState: TypeAlias = Literal["waiting", "running", "failed"]


class SessionRow(msgspec.Struct, frozen=True):
    """A session. `recording_title`: the name of the recording of a session about one recording."""

    id: str
    project_id: str
    end_user_id: str
    scope_type: ScopeType
    recording_id: str | None
    recording_ids: list[str]
    recording_title: str | None
    title: str
    message_count: int
    last_message_at: datetime
    last_model: str | None
    last_provider: LanguageSlot | None
    created_at: datetime
    updated_at: datetime


class MessageRow(msgspec.Struct, frozen=True):
    """A message. `sources` is None for a question, and in lists."""

    id: str
    session_id: str
    place: int
    role: Role
    content: str
    parts: bytes
    sources: bytes | None
    tokens_input: int | None
    tokens_output: int | None
    tokens_cached: int | None
    model: str | None
    provider: LanguageSlot | None
    finish_reason: FinishReason | None
    created_at: datetime


class TurnRow(msgspec.Struct, frozen=True):
    """A message that the next answer continues."""

    place: int
    role: Role
    content: str


class AnswerRow(msgspec.Struct, frozen=True):
    """An answer that is being made. `lost`: its process has not renewed the row in time."""

    id: str
    state: AnswerState
    parts: bytes
    error_code: str | None
    error_message: str | None
    lost: bool


class LatestRow(msgspec.Struct, frozen=True):
    """Where the next exchange of a session goes: the greatest place so far, and the time of its message."""

    place: int
    last_message_at: datetime
