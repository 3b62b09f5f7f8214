"""A fleet of one tenant, behind a proxy that loses answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx
import pytest

from tests.lost_answers.fleet import Fleet
from tests.lost_answers.losing import Losing, losing
from tests.support.running import Running
from tests.support.tenants import Tenant


@pytest.fixture
async def lossy(live: Running) -> AsyncGenerator[Losing]:
    """Loses answers; at the end of the test, it must have done so."""
    async with losing(live.url) as opened:
        yield opened
    assert opened.cuts >= 15, "the answers were not lost"


@pytest.fixture
async def fleet(live: Running, client: httpx.AsyncClient, tenant: Tenant) -> Fleet:
    """Makes devices and looks at what became of them, undisturbed."""
    return Fleet(live.ports, client, tenant)
