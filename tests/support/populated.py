"""One of everything on a running server."""

from __future__ import annotations

from tests.contract.resources import Resources, populate
from tests.support.client import api_client
from tests.support.running import Running


async def populated(live: Running) -> Resources:
    """What `populate` makes on this server."""
    async with api_client(live.url) as client:
        return await populate(client, live.ports)
