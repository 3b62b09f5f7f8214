"""What the adapters of language models share: the interface of a dialect, and the pieces of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

from lapel.slices.language_models.language_model import FinishReason, Tokens

if TYPE_CHECKING:
    from lapel.slices.language_models.language_model import Prompt

# What a server may not know: the field `response_format`, the field `stream_options`, or the name of the
# field that limits the tokens.
Feature: TypeAlias = Literal["schema", "stream_usage", "limit"]


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP request of a dialect. `path`: below the base URL."""

    path: str
    body: bytes
    query: Sequence[tuple[str, str]] = ()


class EventPiece(msgspec.Struct, frozen=True, kw_only=True):
    """What one event of an answer tells. `finish`: why the model stopped.

    `refusal`: why the model refuses, in its words. `unknown`: a reason to stop that is none of the answer's.
    `too_long`: the window is full. `error`: an error in place of an event, with its HTTP status.
    """

    text: str = ""
    model: str | None = None
    tokens: Tokens | None = None
    finish: FinishReason | None = None
    refusal: str | None = None
    unknown: str | None = None
    too_long: bool = False
    error: tuple[int, bytes] | None = None


class Dialect(Protocol):
    """How a kind of service is asked, and how its answers are read."""

    thinking_tokens: int
    """What a model may think before it answers: a request allows so many tokens more than its prompt."""

    def request(self, prompt: Prompt, left_out: frozenset[Feature]) -> ModelRequest:
        """The request for a streamed answer, without what the server does not know."""
        ...

    def read(self, data: bytes) -> EventPiece | None:
        """What an event tells; None after the last event.

        Raises msgspec.MsgspecError if it cannot be read.
        """
        ...


# The HTTP status that the types of errors inside an answer stand for.
_STATUSES = {
    "authentication_error": 401, "permission_error": 403, "billing_error": 402, "not_found_error": 404,
    "invalid_request_error": 400, "request_too_large": 413, "rate_limit_error": 429,
    "rate_limit_exceeded": 429, "insufficient_quota": 429, "timeout_error": 504, "overloaded_error": 529,
    "context_length_exceeded": 400, "exceed_context_size_error": 400,
}  # fmt: skip


def status_of(*told: object) -> int:
    """The HTTP status of an error, from its codes and types: 500 if none of them is known."""
    for each in told:
        if isinstance(each, int) and 300 <= each < 600:
            return each
        if isinstance(each, str) and each in _STATUSES:
            return _STATUSES[each]
    return 500
