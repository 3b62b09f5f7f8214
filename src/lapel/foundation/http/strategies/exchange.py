"""The state of one request, and the forms that an answer has before it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from lapel.foundation.core.actors import ANONYMOUS, Actor
from lapel.foundation.http.calls import Content, Params

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from lapel.foundation.core.asgi import Scope
    from lapel.foundation.http.deadline import Deadline
    from lapel.foundation.http.operations import Endpoint
    from lapel.foundation.http.responses import Headers

Encoded: TypeAlias = "tuple[int, Headers, Content]"
"""An answer: status, headers and body."""


class Exchange(msgspec.Struct):
    """One request. Each step fills in more; answers and refusals are made from this."""

    scope: Scope
    headers: dict[bytes, bytes]
    began: float
    request_id: str
    operation: Endpoint | None = None
    actor: Actor = ANONYMOUS
    extra: Headers = ()
    # The parameters of the path, and the body's struct once it is decoded.
    params: Params = msgspec.field(default_factory=dict[str, str])
    body: msgspec.Struct | None = None
    # Names the fields of the body that were ignored.
    warnings: Headers = ()
    started: bool = False
    # As the audit log shows it; None for a client of a Unix socket.
    address: str | None = None
    # The code of the error that the answer tells.
    error_code: str | None = None
    # Set once the operation is known; before that, no code waits.
    deadline: Deadline | None = None


@dataclass(frozen=True, slots=True)
class DeferredAnswer:
    """An answer of about `size` bytes that is not made yet. `in_turn`: see LargeAnswers."""

    size: int
    make: Callable[[], Awaitable[Encoded]]
    in_turn: bool = True


@dataclass(frozen=True, slots=True)
class StreamedAnswer:
    """An answer whose pieces are made as events happen. `check` raises an ApiError when the caller's token no
    longer admits it. `headers` is called when the first piece is made."""

    status: int
    headers: Callable[[], Headers]
    pieces: AsyncGenerator[bytes]
    check: Callable[[], Awaitable[None]]
