"""Fixtures of the tests of retention."""

from __future__ import annotations

import httpx
import pytest

from lapel.foundation.ports import Ports
from tests.recordings.support import Device
from tests.support.tenants import Tenant

# A run erases in all worlds, and counts what it erased.
NO_RULES = """
DELETE FROM config_overrides WHERE section = 'retention';
DELETE FROM organization_config_overrides WHERE section = 'retention';
"""


@pytest.fixture
async def device(client: httpx.AsyncClient, tenant: Tenant, ports: Ports) -> Device:
    """Somebody with a secret key of the test world; nobody else has a rule."""
    async with ports.database.acquire() as connection:
        await connection.execute(NO_RULES)
    return Device(client, tenant, tenant.headers)
