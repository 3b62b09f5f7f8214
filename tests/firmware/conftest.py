"""Fixtures of the tests of firmware."""

from __future__ import annotations

import httpx
import pytest

from lapel.foundation.ports import Kit
from tests.firmware.support import Fleet
from tests.support.tenants import Tenant


@pytest.fixture
def fleet(client: httpx.AsyncClient, tenant: Tenant, kit: Kit) -> Fleet:
    """Somebody with a secret key of the test world."""
    return Fleet(client, tenant, kit)
