"""What the tests of the contract share."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.contract.resources import Resources, populate
from tests.support.client import api_client
from tests.support.running import Running


@pytest.fixture(scope="module")
async def shared(live: Running) -> AsyncGenerator[Resources]:
    """One of everything, which no refused request may change."""
    async with api_client(live.url) as client:
        yield await populate(client, live.ports)
