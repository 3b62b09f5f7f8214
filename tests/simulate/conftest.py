"""What several tests of simulated devices share."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from lapel.simulate.phone import strict_caller
from tests.simulate.phones import Phone, phone_at_fake_cloud


@pytest.fixture
async def phone(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Phone]:
    """A phone that repeats its calls without a pause."""
    monkeypatch.setattr(strict_caller, "_PAUSE", 0.0)
    async with phone_at_fake_cloud() as opened:
        yield opened
