"""The end of a test: bring everything to rest, read everything back, and judge."""

from __future__ import annotations

from tests.faults.checker import Finding, judge
from tests.faults.evidence import Evidence, collect, read_back, statuses
from tests.faults.journal import Journal, Told, read
from tests.faults.rest import come_to_rest
from tests.support.client import api_client
from tests.support.running import Running
from tests.support.tenants import Tenant


async def conclude(live: Running, tenant: Tenant, journal: Journal) -> list[Finding]:
    """Bring the system to rest, with no other worker running; gives all findings."""
    await come_to_rest(live.settings)
    told = read(journal.path)
    return judge(told, await look(live, tenant, told))


async def look(live: Running, tenant: Tenant, told: Told) -> Evidence:
    """Everything that is there now; promised media are read through their own links."""
    there = await collect(live.settings)
    async with api_client(live.url) as client:
        there.served = await read_back(client, tenant, told.standing)
        there.answers_of_deleted = await statuses(client, tenant, told.deleted)
    return there
