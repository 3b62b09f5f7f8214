"""The order of checks: route, token, scope and world, rate limit, then the body.

A request that is wrong in several ways hears of the first one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.http import rate_limits
from lapel.foundation.http.operations import Operation
from lapel.slices.projects.scopes import Scope
from tests.contract.resources import Resources, populate
from tests.support.client import api_client
from tests.support.declared import declared_operations
from tests.support.matrix import scopes_without, usual_caller
from tests.support.postgres import create_database
from tests.support.running import running
from tests.support.tenants import bearer, make_key

TAKING_BODIES = [each for each in declared_operations() if not each.access.public and each.method != "GET"]
LIMITS = {
    "LAPEL_RATE_LIMITS": "on",
    "LAPEL_RATE_PER_SECOND": "0",
    "LAPEL_RATE_PER_MINUTE": "1",
    "LAPEL_DEVICE_PER_MINUTE": "1",
}


class Limited:
    """A server that lets one request a minute pass, for each project and each device."""

    def __init__(self, client: httpx.AsyncClient, clock: ManualClock, resources: Resources) -> None:
        self.client = client
        self.clock = clock
        self.resources = resources
        self.scopeless: dict[tuple[Scope, ...], str] = {}

    async def broken(self, method: str, path: str, token: str) -> int:
        """What a body that is no JSON is answered."""
        headers = {**bearer(token), "Content-Type": "application/json"}
        return (await self.client.request(method, path, content=b"{", headers=headers)).status_code


@pytest.fixture(scope="module")
async def limited(postgres: EmbeddedPostgres, module_folder: Path) -> AsyncGenerator[Limited]:
    database = create_database(postgres, "order_of_checks", "template")
    clock = ManualClock(datetime.now(UTC).replace(second=0, microsecond=0))
    # A request passes that waits too short a time for the counter: on a busy machine that is 400 for 429.
    patient = pytest.MonkeyPatch()
    patient.setattr(rate_limits, "PATIENCE_SECONDS", 60.0)
    async with (
        running(module_folder / "free", database, clock=clock) as free,
        running(module_folder / "limited", database, clock=clock, **LIMITS) as live,
        api_client(free.url) as maker,
        api_client(live.url) as client,
    ):
        resources = await populate(maker, free.ports)
        made = Limited(client, clock, resources)
        for rest in {scopes_without(each.access) for each in TAKING_BODIES if each.access.scope is not None}:
            made.scopeless[rest] = await make_key(
                free.ports, resources.tenant.test_world, "rk_test", scopes=rest
            )
        yield made
    patient.undo()


@pytest.mark.parametrize("operation", TAKING_BODIES, ids=lambda each: each.name)
async def test_a_request_hears_of_the_first_thing_that_is_wrong(
    limited: Limited, operation: Operation
) -> None:
    kind = usual_caller(operation)
    token = limited.resources.token(kind, operation)
    ids = limited.resources.ids(operation)
    path = operation.path.format(**ids)
    scope = operation.access.scope
    usual = limited.resources.tenant.test_key
    without = usual if scope is None else limited.scopeless[scopes_without(operation.access)]
    limited.clock.advance(timedelta(minutes=1))
    nowhere, method = f"{path}/nowhere/at/all", operation.method
    assert await limited.broken(method, path, token) in (400, 415)
    assert await limited.broken(method, path, token) == 429
    assert await limited.broken(method, path, without) == 403
    assert await limited.broken(method, path, f"{token[:-1]}{'0' if token[-1] != '0' else '1'}") == 401
    assert await limited.broken(method, nowhere, "nonsense") == 404
