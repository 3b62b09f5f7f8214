"""The contract's structs of Ask."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import msgspec

from lapel.foundation.http.input.fields import Count, Timestamp
from lapel.foundation.http.input.pagination import PageQuery
from lapel.slices.language_models.service import FinishReason, LanguageSlot
from lapel.slices.search.service import FoundPassage

ScopeType: TypeAlias = Literal["recording", "selected", "library"]
Role: TypeAlias = Literal["user", "assistant"]

MAX_RECORDINGS = 500
MAX_TITLE = 200
MAX_QUESTION = 10_000

_Title = Annotated[
    str,
    # The service trims first, and then refuses what is blank or too long.
    msgspec.Meta(extra_json_schema={"minLength": 1}, examples=["Budget of the spring fair"]),
]
_Question = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=MAX_QUESTION,
        description="The question.",
        examples=["When is the roof repaired?"],
    ),
]


class AskedScope(msgspec.Struct, frozen=True, kw_only=True):
    """The recordings that a session is about.

    `recording`: one, `recording_id`. `selected`: 1 to 500, `recording_ids`. `library`: all recordings of the
    end user.
    """

    json_rules: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {
                "properties": {"type": {"const": "recording"}, "recording_id": {"type": "string"}},
                "required": ["recording_id"],
            },
            {
                "properties": {
                    "type": {"const": "selected"},
                    "recording_ids": {"type": "array", "minItems": 1},
                },
                "required": ["recording_ids"],
            },
            {"properties": {"type": {"const": "library"}}},
        ]
    }

    type: ScopeType
    recording_id: str | None = None
    recording_ids: Annotated[list[str], msgspec.Meta(max_length=MAX_RECORDINGS)] | None = None


class FirstMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The first question of a session."""

    content: _Question
    provider: LanguageSlot | None = None


class CreateAskSession(msgspec.Struct, frozen=True, kw_only=True):
    """A new session, with or without its first question.

    `end_user_id` is needed unless the scope's type is `recording`, or the key implies it.
    """

    json_rules: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {"properties": {"end_user_id": {"type": "string"}}, "required": ["end_user_id"]},
            {"properties": {"scope": {"properties": {"type": {"const": "recording"}}}}},
        ],
        "examples": [{"scope": {"type": "recording", "recording_id": "rec_0VvPq3xYz8KmW2nLc5RtB7dF"}}],
    }

    scope: AskedScope
    end_user_id: str | None = None
    initial_message: FirstMessage | None = None


class UpdateAskSession(msgspec.Struct, frozen=True, kw_only=True):
    """The fields to change."""

    title: _Title | msgspec.UnsetType = msgspec.UNSET


class AskQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """A question."""

    content: _Question
    provider: LanguageSlot | None = None
    stream: Annotated[
        bool,
        msgspec.Meta(
            description="Answer with server-sent events while the answer is made. The header "
            "`Accept: text/event-stream` does the same."
        ),
    ] = False


class AskScope(msgspec.Struct, frozen=True, kw_only=True):
    """The recordings that a session is about. `recording_ids`: one id for `recording`, none for `library`."""

    type: ScopeType
    recording_ids: list[str]
    recording_title: str | None


class AskSession(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation about recordings.

    `message_count` counts stored messages of both roles. `last_model` and `last_provider` are null before the
    first answer.
    """

    id: str
    project_id: str
    end_user_id: str
    scope: AskScope
    title: str
    message_count: Count
    last_message_at: Timestamp
    last_model: str | None
    last_provider: LanguageSlot | None
    created_at: Timestamp
    updated_at: Timestamp


class TextPart(msgspec.Struct, frozen=True, kw_only=True, tag="text", tag_field="type"):
    """Text of a message."""

    text: str


class CitationPart(msgspec.Struct, frozen=True, kw_only=True, tag="citation", tag_field="type"):
    """Where the text before it was said: milliseconds from the start of the recording."""

    recording_id: str
    start_ms: Count


Part: TypeAlias = TextPart | CitationPart


class AskTokens(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens that an answer used; null where they are not known, and for questions."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None


class AskMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A question (`user`) or an answer (`assistant`). `content` is the text of all parts.

    `provider` is the slot that was asked for; `model` is what answered, such as `extractive`.
    """

    id: str
    session_id: str
    role: Role
    content: str
    parts: list[Part]
    tokens: AskTokens
    model: str | None
    provider: LanguageSlot | None
    finish_reason: FinishReason | None
    created_at: Timestamp


class AskAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a question. `sources` is empty if the session is about one recording."""

    session_id: str
    message: AskMessage
    sources: list[FoundPassage]


_FIELDS_OF_SESSION = [
    "id", "project_id", "end_user_id", "scope", "title", "message_count", "last_message_at", "last_model",
    "last_provider", "created_at", "updated_at",
]  # fmt: skip


class CreatedAskSession(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of the new session; with `initial_message`, the fields of the answer to it instead."""

    json_rules: ClassVar[dict[str, Any]] = {
        "oneOf": [{"required": _FIELDS_OF_SESSION}, {"required": ["session_id", "message", "sources"]}]
    }

    id: str | msgspec.UnsetType = msgspec.UNSET
    project_id: str | msgspec.UnsetType = msgspec.UNSET
    end_user_id: str | msgspec.UnsetType = msgspec.UNSET
    scope: AskScope | msgspec.UnsetType = msgspec.UNSET
    title: str | msgspec.UnsetType = msgspec.UNSET
    message_count: Count | msgspec.UnsetType = msgspec.UNSET
    last_message_at: Timestamp | msgspec.UnsetType = msgspec.UNSET
    last_model: str | msgspec.UnsetType | None = msgspec.UNSET
    last_provider: LanguageSlot | msgspec.UnsetType | None = msgspec.UNSET
    created_at: Timestamp | msgspec.UnsetType = msgspec.UNSET
    updated_at: Timestamp | msgspec.UnsetType = msgspec.UNSET
    session_id: str | msgspec.UnsetType = msgspec.UNSET
    message: AskMessage | msgspec.UnsetType = msgspec.UNSET
    sources: list[FoundPassage] | msgspec.UnsetType = msgspec.UNSET


class AskSessionPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of sessions, latest activity first."""

    data: list[AskSession]
    has_more: bool
    next_cursor: str | None


class AskMessagePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of messages, oldest first."""

    data: list[AskMessage]
    has_more: bool
    next_cursor: str | None


class AskSessionQuery(PageQuery, frozen=True, kw_only=True):
    """How to list sessions."""

    end_user_id: str | None = None
    scope_type: ScopeType | None = None
    recording_id: (
        Annotated[
            str,
            msgspec.Meta(description="Sessions about this recording, alone or among `selected` ones."),
        ]
        | None
    ) = None
    q: (
        Annotated[
            str,
            msgspec.Meta(max_length=MAX_TITLE, description="A part of the title, in upper or lower case."),
        ]
        | None
    ) = None


class AnswerStreamQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to follow."""

    message_id: (
        Annotated[
            str,
            msgspec.Meta(description="`message_id` of the event `message.start`."),
        ]
        | None
    ) = None


class StoppedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an answer was running: then it ends soon, and is stored as far as it came."""

    stopped: bool
