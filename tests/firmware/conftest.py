"""Fixtures of the tests of firmware."""

from __future__ import annotations

import httpx
import pytest

from lapel.foundation.ports import Ports
from tests.firmware.support import Fleet
from tests.support.tenants import Tenant


@pytest.fixture
def fleet(client: httpx.AsyncClient, tenant: Tenant, ports: Ports) -> Fleet:
    """Somebody with a secret key of the test world."""
    return Fleet(client, tenant, ports)
