"""The moment at which a token has to be valid."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import pytest

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.database.pool import Database
from lapel.foundation.identity.authenticator import Authenticator
from lapel.foundation.identity.key_cache import Revocations
from lapel.foundation.identity.token_kinds import Found, TokenKind
from lapel.foundation.identity.tokens import new_token
from lapel.foundation.ports import Ports

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

START = datetime(2026, 1, 1, tzinfo=UTC)
WAITED = timedelta(seconds=5)


class Slow:
    """A database that has a connection only after a while."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    @asynccontextmanager
    async def acquire(self) -> AsyncGenerator[None]:
        self._clock.advance(WAITED)
        yield


@pytest.mark.parametrize(("cached", "moment"), [(False, START + WAITED), (True, START)])
async def test_a_token_is_looked_up_as_of_the_moment_that_its_kind_needs(
    ports: Ports, cached: bool, moment: datetime
) -> None:
    """The look-up of a cached kind counts from before the read, that of others from the read itself."""
    clock, moments = ManualClock(START), list[datetime]()

    async def find(_connection: Connection, _hashes: list[bytes], now: datetime) -> Found:
        moments.append(now)
        return Found(Actor(kind="upload", id="rec_a", world_id=1, project_id="prj_a", mode="test"))

    kind = TokenKind(
        name="upload",
        prefixes=("utok",),
        find=find,
        unknown="",
        holder="",
        scheme="",
        description="",
        cached=cached,
    )
    database = cast("Database", Slow(clock))
    authenticate = Authenticator(
        database,
        clock,
        ports.hasher,
        Revocations(ports.database),
        lambda _world, _id, _now: None,
        kinds=[kind],
        scopes=(),
    )
    await authenticate(f"Bearer {new_token('utok')}".encode())
    assert moments == [moment]
