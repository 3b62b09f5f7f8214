"""How many exports of the log run at once."""

from __future__ import annotations

from contextlib import AsyncExitStack

import httpx
import pytest

from lapel.foundation.http.large_responses import LargeAnswers
from lapel.parsers import MIB
from tests.audit.support import write_entries
from tests.support.running import Running
from tests.support.tenants import Tenant

EXPORT = "/v1/audit-log/export"


async def test_a_world_has_two_at_once_and_leaves_room_for_others(
    live: Running,
    client: httpx.AsyncClient,
    tenant: Tenant,
    stranger: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = LargeAnswers(window=0.05)
    monkeypatch.setattr(live.server.api, "_large", large)
    for each in (tenant, stranger):
        await write_entries(live.ports, each.test_world, 1)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            assert (await client.get(EXPORT, headers=tenant.headers)).status_code == 200
            # As another reader's export of the log, or of an end user.
            await stack.enter_async_context(large.room({}, tenant.test_world, 8 * MIB, made=False))
        refused = await client.get(EXPORT, headers=tenant.headers)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "unavailable"
        assert refused.headers["retry-after"] == "2"
        assert (await client.get(EXPORT, headers=stranger.headers)).text.count("\n") == 1
    assert (await client.get(EXPORT, headers=tenant.headers)).text.count("\n") == 1
