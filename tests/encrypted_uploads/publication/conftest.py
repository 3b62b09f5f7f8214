"""Fixtures of the tests of the publication."""

from __future__ import annotations

import httpx
import pytest

from tests.recordings.support import Device
from tests.support.tenants import Tenant


@pytest.fixture
def device(client: httpx.AsyncClient, tenant: Tenant) -> Device:
    """Somebody with a secret key of the test world."""
    return Device(client, tenant, tenant.headers)
