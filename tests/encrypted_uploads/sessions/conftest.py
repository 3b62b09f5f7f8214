"""Fixtures of the tests of sessions."""

from __future__ import annotations

import httpx
import pytest

from tests.support.sealed_uploads import Phone, phone_of
from tests.support.tenants import Tenant


@pytest.fixture
async def phone(client: httpx.AsyncClient, tenant: Tenant) -> Phone:
    """A device of the tenant's test world, and its phone."""
    return await phone_of(client, tenant)
