"""Nobody changes the log through the application's role, also not after a restore; values go on their own."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from lapel.cli.doctor.database_checks import audit_rights
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.core.request_id import CLIENT_ADDRESS
from lapel.foundation.database import audit, migrations
from lapel.foundation.ports import Ports
from lapel.slices.audit.chain.chaining import AuditChains
from lapel.slices.audit.chain.verification import verify_chain
from tests.audit.support import TABLES, refuses_changes
from tests.support.a_life import finish
from tests.support.client import api_client
from tests.support.postgres import create_database, drop_database
from tests.support.running import running
from tests.support.tenants import Tenant, bearer, make_tenant

OF_END_USERS = "SELECT end_user_id FROM audit_details WHERE world_id = $1 AND end_user_id IS NOT NULL"


async def test_the_application_may_only_add(fresh_database: str) -> None:
    await refuses_changes(fresh_database)


async def test_doctor_warns_of_a_role_that_may_change_the_log(
    fresh_database: str, postgres: EmbeddedPostgres
) -> None:
    name = fresh_database.partition("?")[0].rpartition("/")[2]
    for url, state in ((fresh_database, "ok"), (postgres.dsn("postgres", name), "warning")):
        connection = await asyncpg.connect(url)
        try:
            found = await audit_rights(connection)
        finally:
            await connection.close()
        assert found.state == state


async def test_the_next_migration_takes_rights_again(fresh_database: str) -> None:
    """As after a restore: a dump is restored without rights."""
    connection = await asyncpg.connect(fresh_database)
    await connection.execute(f"GRANT ALL ON {', '.join(TABLES)} TO CURRENT_USER")
    await connection.execute("DELETE FROM audit_log")
    await connection.close()
    await asyncio.to_thread(migrations.upgrade, fresh_database)
    await refuses_changes(fresh_database)


async def test_values_of_before_are_kept_apart_from_the_entries(postgres: EmbeddedPostgres) -> None:
    database = create_database(postgres, "audited")
    await asyncio.to_thread(migrations.upgrade, database, "0026")
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("""
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects VALUES ('proj_1', 'org_1', 'x', now());
INSERT INTO worlds (project_id, mode) VALUES ('proj_1', 'live');
INSERT INTO audit_log
    (world_id, id, actor_kind, action, resource_type, resource_id, before, after, created_at)
SELECT w.id, made.id, 'operator', 'config.updated', kind, resource, before::jsonb, '{"b":"\u00fc"}', now()
FROM worlds w, (VALUES ('aud_1', 'project', 'proj_1', NULL), ('aud_2', 'end_user', 'eu_1', '{"a": 1}'))
    AS made (id, kind, resource, before)
""")
        await asyncio.to_thread(migrations.upgrade, database)
        rows = await connection.fetch(f"SELECT * FROM {audit.ENTRIES} ORDER BY a.id")
        assert [(row["end_user_id"], row["details"]) for row in rows] == [
            (None, '{"before":null,"after":{"b": "\u00fc"},"address":null}'),
            ("eu_1", '{"before":{"a": 1},"after":{"b": "\u00fc"},"address":null}'),
        ]
        for row in rows:
            assert row["details_hash"] == audit.hash_of(row["salt"], row["details"].encode())
        assert await connection.fetchval("SELECT count(*) FROM audit_unchained") == 2
    finally:
        await connection.close()
        drop_database(postgres, "audited")


async def test_entries_carry_the_address_of_the_client(
    fresh_database: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("addresses")
    async with running(folder, fresh_database, LAPEL_TRUSTED_PROXIES="127.0.0.0/8, 10.0.0.0/8") as server:
        tenant = await make_tenant(server.ports)
        async with api_client(server.url) as client:

            async def change(size: int, **headers: str) -> dict[str, Any]:
                answer = await client.patch(
                    "/v1/config/upload",
                    json={"streaming_chunk_kb": size},
                    headers={**bearer(tenant.test_key), **headers},
                )
                assert answer.status_code == 200, answer.text
                entries = await client.get("/v1/audit-log?limit=1", headers=bearer(tenant.test_key))
                return entries.json()["data"][0]

            assert (await change(128))["address"] == "127.0.0.1"
            forwarded = await change(64, **{"X-Forwarded-For": "192.0.2.66, 203.0.113.9, 10.1.1.1"})
            assert forwarded["address"] == "203.0.113.9"


async def test_details_go_with_the_end_user_that_they_concern(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    world = tenant.test_world
    created = await client.post("/v1/end-users", json={}, headers=tenant.headers)
    present = created.json()["id"]

    async def write(number: int, about: str | None) -> None:
        change = audit.Change(
            action="thing.changed",
            resource_type="thing",
            resource_id=f"thing_{number}",
            before=number,
            after="x",
        )
        async with ports.database.transaction() as connection:
            await audit.record(
                connection,
                ports.ids,
                ports.clock.now(),
                worlds=[world],
                actor=audit.Provider("deepgram"),
                change=change,
                about=about,
            )

    token = CLIENT_ADDRESS.set("203.0.113.9")
    try:
        for number, about in enumerate(("eu_gone", "eu_gone", None, present)):
            await write(number, about)
    finally:
        CLIENT_ADDRESS.reset(token)
    async with ports.database.transaction() as connection:
        assert await audit.erase_some_details(connection, world, "eu_gone", 1) == 1
        assert await audit.erase_some_details(connection, world, "eu_gone", 5) == 1
        assert await audit.erase_some_details(connection, world, "eu_gone", 5) == 0
    answer = await client.get("/v1/audit-log?actor=deepgram", headers=tenant.headers)
    entries = answer.json()["data"]
    assert [(each["resource_id"], each["before"], each["address"]) for each in entries] == [
        ("thing_3", 3, "203.0.113.9"),
        ("thing_2", 2, "203.0.113.9"),
        ("thing_1", None, None),
        ("thing_0", None, None),
    ]
    assert {(each["actor"]["kind"], each["actor"]["id"]) for each in entries} == {("provider", "deepgram")}


async def test_details_that_were_committed_after_the_erasure_go_when_they_are_chained(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    """A request may run while its end user is deleted: the erasure does not see its entry."""
    world = tenant.test_world
    person, other = [
        (await client.post("/v1/end-users", json={}, headers=tenant.headers)).json()["id"] for _ in range(2)
    ]
    async with ports.database.transaction() as connection:
        for about in (person, other):
            change = audit.happened("thing.changed", about)
            now = ports.clock.now()
            await audit.record(
                connection, ports.ids, now, worlds=[world], actor=None, change=change, about=about
            )
        await client.delete(f"/v1/end-users/{person}", headers=tenant.headers)
        await finish(ports, world, person)
    await AuditChains(ports).chain(world)
    async with ports.database.acquire() as connection:
        left = await connection.fetch(OF_END_USERS, world)
    assert [row["end_user_id"] for row in left] == [other, other]
    report = await verify_chain(ports, world)
    # The end user was created, changed and deleted.
    assert (report.erased, report.broken) == (3, None)


async def test_an_entry_waits_for_no_lock_on_its_world(tenant: Tenant, ports: Ports) -> None:
    """A check of a foreign key would lock the row of the world with each entry."""
    world, now = tenant.test_world, ports.clock.now()
    change = audit.happened("thing.changed", "thing_1")
    async with ports.database.transaction() as holder, ports.database.transaction() as writer:
        await holder.execute("SELECT 1 FROM worlds WHERE id = $1 FOR UPDATE", world)
        await writer.execute("SET LOCAL lock_timeout = '1s'")
        await audit.record(writer, ports.ids, now, worlds=[world], actor=None, change=change, about=None)
