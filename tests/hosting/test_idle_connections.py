"""Connections that wait for their next request end after a while."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lapel.hosting import listener
from tests.hosting.test_listener import GET, PATIENCE, serving

if TYPE_CHECKING:
    import pytest


async def test_an_idle_connection_is_closed_after_its_time_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listener, "KEEP_ALIVE", 1.2)  # a busy machine pauses for less
    async with serving() as served:
        reader, writer = await served.connect()
        for _ in range(3):
            writer.write(GET)
            await reader.readuntil(b"\r\n\r\n0")
            await asyncio.sleep(0.3)
        begun = asyncio.get_running_loop().time()
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        assert asyncio.get_running_loop().time() - begun > 0.3
        writer.close()
