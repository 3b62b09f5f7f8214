"""A server of its own whose clock the tests turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.core.clock import ManualClock
from tests.commands.support import Wearer
from tests.support.client import api_client
from tests.support.running import Running, running_apart
from tests.support.tenants import make_tenant


@pytest.fixture(scope="package")
def clock() -> ManualClock:
    """It only ever goes forward."""
    return ManualClock(datetime(2026, 1, 15, 12, 0, 0, 250_000, tzinfo=UTC))


@pytest.fixture(scope="package")
async def timed(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, clock: ManualClock
) -> AsyncGenerator[Running]:
    """The server that goes by it."""
    async with running_apart(postgres, tmp_path_factory, "commands", clock=clock) as started:
        yield started


@pytest.fixture
async def wearer(timed: Running, clock: ManualClock) -> AsyncGenerator[Wearer]:
    """A bound device of a project of the test's own."""
    async with api_client(timed.url) as client:
        yield await Wearer.begin(client, await make_tenant(timed.ports), clock)
