"""What the tests of the contract share."""

from __future__ import annotations

import pytest

from tests.contract.resources import Resources
from tests.support.populated import populated
from tests.support.running import Running


@pytest.fixture(scope="module")
async def shared(live: Running) -> Resources:
    """One of everything, which no refused request may change."""
    return await populated(live)
