"""Fixtures of the tests of transcriptions."""

from __future__ import annotations

import httpx
import pytest

from tests.recordings.support import Device
from tests.support.tenants import Tenant


@pytest.fixture
def device(client: httpx.AsyncClient, tenant: Tenant) -> Device:
    """A client with the tenant's secret key."""
    return Device(client, tenant, tenant.headers)
