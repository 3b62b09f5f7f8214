"""The argument of a handler, and its answer.

A handler takes one argument, whose type names the decoded structs: `Call[Query, Body]`. The type checker
detects a wrong struct, because a route names the structs before its handler (`routes.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

import msgspec

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.forms import Form

Params: TypeAlias = Mapping[str, str]
Content: TypeAlias = bytes | AsyncGenerator[bytes]
Query = TypeVar("Query", bound=msgspec.Struct)
Body = TypeVar("Body", bound=msgspec.Struct)
AnswerBody: TypeAlias = msgspec.Struct | Content | None
Response_co = TypeVar("Response_co", bound=AnswerBody, covariant=True)


class NoBody(msgspec.Struct, frozen=True):
    """The body of an operation without a body: empty, or any JSON object."""


class NoQuery(msgspec.Struct, frozen=True):
    """The query of an operation without parameters: any parameter is refused."""


class _OnPath(msgspec.Struct, Generic[Query]):
    """The part of every call: the parameters of the path, and the query."""

    params: Params
    query: Query

    @property
    def id(self) -> str:
        """The first parameter of the path. Raises LookupError when the path has none."""
        for value in self.params.values():
            return value
        raise LookupError("`id` is the first parameter of a path, and the path of this operation has none.")


class Call(_OnPath[Query], Generic[Query, Body]):
    """One request, authenticated and decoded."""

    body: Body
    actor: Actor


class StoredCall(Call[Query, Body], Generic[Query, Body]):
    """The call of a `stored` operation: its transaction also stores the answer."""

    connection: Connection


class AnswerClaim(Protocol):
    """A request's claim on its Idempotency-Key, for work that is longer than a transaction."""

    @property
    def digest(self) -> bytes:
        """Identifies the key, its principal and its world: 32 bytes."""
        ...

    async def find(self, connection: Connection) -> bytes | None:
        """The body of the stored answer; None when there is none. For the first transaction.

        Raises IdempotencyKeyInUse while another transaction holds the key, IdempotencyKeyReused when the key
        belongs to a different request, NotFound when the answer was erased.
        """
        ...

    async def hold(self, connection: Connection) -> None:
        """Hold the key until the end of the last transaction, which stores the answer; waits for a repeat of
        the request that looks for it."""
        ...

    async def store(self, connection: Connection, status: int, body: bytes, end_user_id: str | None) -> None:
        """Store the answer in the transaction of the effect, after `hold`, or `find` if it is the first.

        `end_user_id`: the answer is erased with this end user.
        """
        ...


class LastingCall(Call[Query, Body], Generic[Query, Body]):
    """The call of a `lasting` operation.

    `claim`: None without an Idempotency-Key. `streamed`: the client prefers
    `text/event-stream` to JSON.
    """

    claim: AnswerClaim | None
    streamed: bool


class FormCall(_OnPath[Query], Generic[Query, Body]):
    """A call with `multipart/form-data`: the handler reads the form, whose text fields become a `Body`."""

    form: Form[Body]
    actor: Actor


class StreamCall(Call[Query, Body], Generic[Query, Body]):
    """The call of a stream: a client that reconnects sends the id of the last event that it got."""

    last_event_id: str | None


class DirectCall(_OnPath[Query], Generic[Query, Body]):
    """A call whose device is not authenticated yet: only the hash of its token is known."""

    body: Body
    token_hash: bytes


@dataclass(frozen=True, slots=True)
class Reply(Generic[Response_co]):
    """An answer with a status or headers of its own, or with an action after the commit.

    The pieces of a generator are sent as they are made; only a `plain` operation may answer with a generator,
    because a `stored` one keeps its answer. If an error is raised before the handler returns the Reply, it is
    answered as usual. If the generator raises one later, the answer is broken off. `committed` is for
    `stored` operations: it is awaited after the commit of their transaction, before the answer is sent.
    """

    body: Response_co
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    committed: Callable[[], Awaitable[None]] | None = None


Answer: TypeAlias = AnswerBody | Reply[AnswerBody]
"""The answer of any handler."""
