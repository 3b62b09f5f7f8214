"""No entry has a secret. What is personal stands only in the part of an entry that goes with its end user."""

from __future__ import annotations

import re

import httpx

from lapel.foundation.ports import Ports
from tests.recordings.support import Device
from tests.support.a_life import lead_a_life, naming
from tests.support.declared import TOKEN_PREFIXES
from tests.support.tenants import Tenant

# All that the log has of a world, a row each.
ROWS = """
SELECT a::text AS entry, d::text AS details, d.end_user_id FROM audit_log a
JOIN audit_details d ON d.world_id = a.world_id AND d.entry_id = a.id WHERE a.world_id = $1
"""
TOKENS = (rf"\b{prefix}_[A-Za-z0-9]{{20,}}" for prefix in TOKEN_PREFIXES)
SECRET = re.compile("|".join((*TOKENS, "whsec_", "X-Amz-", "eyJhbGci", "s3cret")))


async def test_entries_have_no_secret_and_nothing_personal_that_stays(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    operator = Device(client, tenant, tenant.headers)
    life = await lead_a_life(operator, ports)
    hook = {"url": "https://hooks.receiver.example/s3cret?token=s3cret", "events": ["*"]}
    webhook = (await operator.post("/v1/webhooks", 201, hook))["id"]
    await operator.post(f"/v1/webhooks/{webhook}/rotate-secret", 200)
    key = (await operator.post("/v1/api-keys", 201, {"scopes": ["recordings:read"]}))["id"]
    await operator.post(f"/v1/api-keys/{key}/rotate", 201, {})
    async with ports.database.acquire() as connection:
        rows = await connection.fetch(ROWS, tenant.test_world)
    assert len(rows) > 30
    text = "".join(row["entry"] + row["details"] for row in rows)
    assert SECRET.findall(text) == []
    assert not [row for row in rows if life.word in row["entry"]]
    personal = [row for row in rows if life.word in row["details"]]
    assert personal
    assert {row["end_user_id"] for row in personal} == {life.person}
    audit = {place for place in await naming(ports, life.word) if place[0].startswith("audit")}
    assert audit == {("audit_details", "details")}
