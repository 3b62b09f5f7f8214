"""Fixtures of the tests of deliveries."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from lapel.foundation.ports import Ports
from tests.support.tenants import Tenant
from tests.webhooks.delivery.support import Receiver, World, delivering, receiving, world_of


@pytest.fixture
async def world(ports: Ports, tenant: Tenant) -> AsyncGenerator[World]:
    """A world of the test's own. Its made-up events are removed, because the events of the shared server are
    compared with the contract at the end. The webhooks of earlier tests get nothing any more: a worker would
    attempt hundreds of their deliveries first."""
    made = world_of(ports, tenant)
    await made.execute("UPDATE webhooks SET status = 'disabled', disabled_reason = 'request'")
    await made.execute("DELETE FROM webhook_deliveries WHERE state = 'pending'")
    yield made
    await made.execute("DELETE FROM webhooks WHERE world_id = $1", made.id)
    await made.execute("DELETE FROM events WHERE world_id = $1", made.id)


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    """A receiver that accepts everything, until a test changes that."""
    async with receiving() as started:
        yield started


@pytest.fixture
async def engine(world: World) -> AsyncGenerator[None]:
    """The engine runs during the test."""
    async with delivering(world.ports):
        yield
