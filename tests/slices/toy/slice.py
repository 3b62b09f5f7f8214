"""The slice of toys, as data: with one noun of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import ApiError, NotFound
from lapel.foundation.database import outbox
from lapel.foundation.database.rows import fetch_found
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.operations import Operation
from lapel.foundation.http.routes import Routes
from lapel.foundation.identity.token_kinds import Found, HolderRow, TokenKind, actor_of, arrays_of
from lapel.foundation.identity.tokens import new_token
from lapel.foundation.ports import Ports
from lapel.foundation.slices import Services, Slice, Table
from tests.slices.toy import queries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.token_kinds import LookUp


class ToyBroken(ApiError):
    """The toy is broken."""

    status, code = 409, "toy_broken"


class NewToy(msgspec.Struct, frozen=True):
    """A toy to make."""

    broken: bool = False


class Toy(msgspec.Struct, frozen=True):
    """A toy, and its token when it is new."""

    id: str
    token: str | None = None


class Toys:
    """Makes and finds toys."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def make(self, connection: Connection, actor: Actor, body: NewToy) -> Toy:
        """A new toy. Raises ToyBroken when it is asked for."""
        if body.broken:
            raise ToyBroken("This toy is broken.")
        toy = Toy(self._ports.ids.new("toy"), new_token("ttok"))
        crash_point("toy:made")
        hashed = self._ports.hasher.hash(toy.token or "")
        await connection.execute(queries.INSERT, actor.world_id, toy.id, hashed)
        await outbox.publish(
            connection,
            self._ports.ids,
            self._ports.clock.now(),
            world_id=actor.world_id,
            type="toy.made",
            resource_id=toy.id,
            data=b"{}",
        )
        return toy

    async def read(self, actor: Actor, toy_id: str) -> Toy:
        """The toy. Raises NotFound when it is not in this world."""
        async with self._ports.database.acquire() as connection:
            found = await connection.fetchval(queries.FIND, actor.world_id, toy_id)
        if found is None:
            raise NotFound("There is no toy with this id.")
        return Toy(found)


async def _find(connection: Connection, asked: Sequence[LookUp]) -> list[Found | None]:
    rows = await fetch_found(connection, HolderRow, queries.FIND_TOKEN, len(asked), *arrays_of(asked))
    return [None if row is None else Found(actor_of(row, "toy")) for row in rows]


def _sample(ids: Ids, _now: datetime, _project_id: str) -> outbox.EventSample:
    return outbox.EventSample(ids.new("toy"), b"{}")


def _operations(services: Services) -> tuple[Operation, ...]:
    toys = services[Toys]
    routes = Routes("Toys", read=Access("toys:read", frozenset({"key", "toy"})), write=Access("toys:write"))
    return (
        routes.post("/v1/toys", "make_toy", Toy, NewToy).stored(
            "Make a toy",
            lambda call: toys.make(call.connection, call.actor, call.body),
            status=201,
            errors=(ToyBroken,),
        ),
        routes.get("/v1/toys/{toy_id}", "get_toy", Toy).plain(
            "Get a toy", lambda call: toys.read(call.actor, call.id)
        ),
    )


SLICE = Slice(
    name="toys",
    build=lambda services: (Toys(services.ports),),
    operations=_operations,
    scopes=("toys:read", "toys:write"),
    ids={"toy_id": "toy"},
    token_kinds=(
        TokenKind(
            name="toy",
            prefixes=("ttok",),
            find=_find,
            unknown="This toy's token is unknown.",
            holder="a toy's token",
            scheme="toyToken",
            description="A toy's token (`ttok_`).",
        ),
    ),
    errors=(ToyBroken,),
    tables=(Table("toys", grows=True),),
    events={"toy.made": _sample},
    crash_points=("toy:made",),
)
