"""The interfaces of the objects that the request path (`api.py`) uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from lapel.foundation.core.actors import Actor, ActorKind
    from lapel.foundation.http.operations import Endpoint
    from lapel.foundation.http.responses import Headers
    from lapel.foundation.identity.token_kinds import TokenKind


class Authenticate(Protocol):
    """Finds the actor of a token; see `authenticator.py`."""

    @property
    def kinds(self) -> Mapping[ActorKind, TokenKind]:
        """Every kind of token, by the kind of its holders."""
        ...

    async def __call__(self, header: bytes | None) -> Actor:
        """The actor of an Authorization header.

        Raises Unauthorized without a valid token, Unavailable when tokens cannot be looked up.
        """
        ...

    def direct_token(self, header: bytes | None) -> bytes | None:
        """The hash of a well-formed device token, without a look-up; None for any other header."""
        ...


class Limiter(Protocol):
    """Counts requests; see `rate_limits.py`."""

    async def take(self, actor: Actor, operation: Endpoint) -> Headers:
        """Count a request; returns the headers of the answer. Raises RateLimitExceeded at a limit."""
        ...

    async def take_known(self, token_hash: bytes) -> Headers | None:
        """Count a request by the hash of a device's token. Returns None, uncounted, for an unknown token.

        Raises RateLimitExceeded at a limit.
        """
        ...

    def forget(self, token_hash: bytes) -> None:
        """Stop counting a token for its device, because the token is refused now."""
        ...


class NamedCall(Protocol):
    """What was called, as logs and metrics name it: an `Endpoint`, or a method of the embedded store."""

    @property
    def name(self) -> str: ...

    @property
    def logs_each(self) -> bool:
        """Whether each of its answers has a line in the log; of the others a sample has one."""
        ...


class Observer(Protocol):
    """Called for every answer: logs and metrics."""

    def __call__(
        self,
        operation: NamedCall | None,
        method: str,
        status: int,
        seconds: float,
        actor: Actor,
        error: str | None,
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredRequest:
    """A request whose caller is known and whose answer begins now.

    `path` is without the query. `seconds`: from the end of the request's head. `error_code` is None unless
    the answer tells an error.
    """

    id: str
    actor: Actor
    method: str
    path: str
    status: int
    seconds: float
    address: str | None
    error_code: str | None


class RequestLog(Protocol):
    """Shows requests, as they are answered, to those who follow the requests of a world."""

    @property
    def followed(self) -> Container[int]:
        """The worlds that are followed now. It is one object, whose content changes."""
        ...

    def note(self, request: AnsweredRequest) -> None:
        """Show a request of a followed world. Never blocks."""
        ...
