"""What tests of heartbeats begin with."""

from __future__ import annotations

import httpx
import pytest

from lapel.foundation.kit import Kit
from tests.heartbeats.support import Worn, worn
from tests.support.tenants import Tenant


@pytest.fixture
async def device(client: httpx.AsyncClient, kit: Kit, tenant: Tenant) -> Worn:
    """A device that somebody wears."""
    return await worn(client, kit, tenant)
