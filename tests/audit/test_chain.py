"""Each entry is chained once, after its commit, also if processes die. The chain verifies to its end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from lapel.foundation.core.clock import ManualClock
from lapel.foundation.database import audit
from lapel.foundation.identity import signing
from lapel.foundation.ports import Ports, open_ports
from lapel.slices.audit.chain import chain_queries
from lapel.slices.audit.chain.chaining import AuditChains
from lapel.slices.audit.chain.checkpoints import EVERY, signed_claims
from lapel.slices.audit.chain.verification import verify_chain
from tests.audit.support import write_entries
from tests.support.tenants import Tenant, make_tenant

CHAIN = "SELECT number, entry_id FROM audit_chain WHERE world_id = $1 ORDER BY number"
TOKENS = "SELECT token, number FROM audit_checkpoints WHERE world_id = $1 ORDER BY position"
CHILD = """
import asyncio, os, sys
from lapel.foundation.core import crash_points
from lapel.foundation.ports import open_ports
from lapel.settings import Settings
from lapel.slices.audit.chain import chain_queries
from lapel.slices.audit.chain.chaining import AuditChains

async def main():
    async with open_ports(Settings.from_env(os.environ)) as ports:
        crash_points.arm(os.environ["CRASH"])
        await AuditChains(ports).chain(int(sys.argv[1]))

asyncio.run(main())
"""


async def rows(ports: Ports, statement: str, world: int) -> list[Any]:
    async with ports.database.acquire() as connection:
        return [tuple(row) for row in await connection.fetch(statement, world)]


async def sweep(ports: Ports, world: int) -> None:
    """What the schedule does, for one world."""
    await AuditChains(ports).chain(world)
    async with ports.database.acquire() as connection:
        old = ports.clock.now() - EVERY
        due = await chain_queries.find_due_checkpoints(connection, old, ports.signer.head)
    assert world not in due


async def test_every_entry_has_one_place_and_the_chain_verifies(ports: Ports, tenant: Tenant) -> None:
    world = tenant.test_world
    await write_entries(ports, world, 7)
    assert await AuditChains(ports).chain(world) == 7
    await write_entries(ports, world, 3)
    assert await AuditChains(ports).chain(world) == 3
    assert await AuditChains(ports).chain(world) == 0
    report = await verify_chain(ports, world)
    assert (report.entries, report.erased, report.checkpoints, report.signed) == (10, 0, 1, 7)
    assert report.broken is None
    assert [number for number, _ in await rows(ports, CHAIN, world)] == list(range(1, 11))


async def test_chainers_of_one_world_and_writers_do_not_disturb_each_other(
    ports: Ports, tenant: Tenant
) -> None:
    world = tenant.test_world
    await asyncio.gather(
        *(write_entries(ports, world, 20) for _ in range(6)),
        *(AuditChains(ports).chain(world) for _ in range(4)),
    )
    await AuditChains(ports).chain(world)
    report = await verify_chain(ports, world)
    assert (report.entries, report.broken) == (120, None)


async def test_an_entry_that_commits_late_comes_later(ports: Ports, tenant: Tenant) -> None:
    world = tenant.test_world
    async with ports.database.transaction() as late:
        await audit.record(
            late,
            ports.ids,
            ports.clock.now(),
            worlds=[world],
            actor=None,
            change=audit.happened("thing.made", "thing_late"),
            about=None,
        )
        await write_entries(ports, world, 2)
        assert await AuditChains(ports).chain(world) == 2
    assert await AuditChains(ports).chain(world) == 1
    ids = [entry for _, entry in await rows(ports, CHAIN, world)]
    assert ids[2] < ids[0]
    assert (await verify_chain(ports, world)).broken is None


@pytest.mark.parametrize(
    "point", ["audit-chain:appended", "audit-chain:before-commit", "audit-chain:committed"]
)
async def test_a_killed_worker_loses_and_doubles_nothing(
    ports: Ports, tenant: Tenant, tmp_path: Path, point: str
) -> None:
    world = tenant.test_world
    await write_entries(ports, world, 5)
    marker = tmp_path / "marker"
    marker.touch()
    environment = {**os.environ, **ports.settings.to_env(), "CRASH": f"{point}@{marker}"}
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, str(world), env=environment)
    assert await child.wait() == 70
    assert not marker.exists()
    assert len(await rows(ports, CHAIN, world)) == (5 if point.endswith("committed") else 0)
    await write_entries(ports, world, 1)
    await AuditChains(ports).chain(world)
    report = await verify_chain(ports, world)
    assert (report.entries, report.broken) == (6, None)


async def test_checkpoints_are_due_by_number_time_and_key(ports: Ports, tenant: Tenant) -> None:
    world = tenant.test_world
    clock = ManualClock(ports.clock.now())
    at = replace(ports, clock=clock)
    await write_entries(ports, world, 2)
    await AuditChains(at).chain(world)
    await write_entries(ports, world, 1)
    clock.advance(timedelta(minutes=59))
    await sweep(at, world)
    assert [number for _, number in await rows(ports, TOKENS, world)] == [2]
    clock.advance(timedelta(minutes=1))
    await sweep(at, world)
    assert [number for _, number in await rows(ports, TOKENS, world)] == [2, 3]
    await write_entries(ports, world, 1000)
    await AuditChains(at).chain(world)
    clock.advance(timedelta(days=2))  # nothing new
    await sweep(at, world)
    assert [number for _, number in await rows(ports, TOKENS, world)] == [2, 3, 1003]
    secret = str(ports.settings.secret)
    second = replace(at, signer=signing.signer("second" * 8, secret))
    third = replace(at, signer=signing.signer("third" * 8, "second" * 8))
    await AuditChains(second).chain(world)
    await AuditChains(third).chain(world)
    tokens = await rows(ports, TOKENS, world)
    assert [number for _, number in tokens] == [2, 3, 1003, 1003, 1003]
    # The third key does not know the first; what follows covers it.
    assert signed_claims(third.signer, tokens[0][0]) is None
    report = await verify_chain(third, world)
    assert (report.broken, report.signed, report.checkpoints) == (None, 1003, 5)
    # A server that knows no key of the newest checkpoint signs nothing on top of it.
    stranger = replace(at, signer=signing.signer("stranger" * 8, None))
    await AuditChains(stranger).chain(world)
    assert await rows(ports, TOKENS, world) == tokens
    broken = (await verify_chain(stranger, world)).broken
    assert broken is not None
    assert (broken.kind, broken.number) == ("checkpoint", 2)


async def test_a_chain_with_many_checkpoints_of_few_entries_is_good(
    ports: Ports, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each entry has a checkpoint, and the last has one of another key too: more than are read at once."""
    monkeypatch.setattr("lapel.slices.audit.chain.verification._BATCH", 3)
    world, clock = tenant.test_world, ManualClock(ports.clock.now())
    at = replace(ports, clock=clock)
    for _ in range(3):
        clock.advance(EVERY)
        await write_entries(ports, world, 1)
        await AuditChains(at).chain(world)
    other = replace(at, signer=signing.signer("second" * 8, str(ports.settings.secret)))
    await AuditChains(other).chain(world)
    await write_entries(ports, world, 1)
    await AuditChains(other).chain(world)
    report = await verify_chain(other, world)
    assert (report.broken, report.entries, report.checkpoints, report.signed) == (None, 4, 4, 3)


async def test_a_checkpoint_that_is_signed_between_two_reads_is_good(ports: Ports, tenant: Tenant) -> None:
    world, clock = tenant.test_world, ManualClock(ports.clock.now())
    await write_entries(ports, world, 5)
    await AuditChains(replace(ports, clock=clock)).chain(world)
    await write_entries(ports, world, 2)
    await AuditChains(replace(ports, clock=clock)).chain(world)
    clock.advance(EVERY)

    async def meanwhile() -> None:
        async with open_ports(ports.settings) as own:
            at = replace(own, clock=clock)
            await AuditChains(at).chain(world)  # only signs
            await write_entries(at, world, 1)
            await AuditChains(at).chain(world)

    def progress(number: int) -> None:
        if number == 7:
            with ThreadPoolExecutor() as pool:
                pool.submit(asyncio.run, meanwhile()).result()

    report = await verify_chain(ports, world, progress)
    assert [number for _, number in await rows(ports, TOKENS, world)] == [5, 7]
    assert (report.broken, report.entries, report.signed) == (None, 8, 7)


async def test_a_world_that_fails_stops_no_other(ports: Ports, tenant: Tenant) -> None:
    other = await make_tenant(ports)
    first, second = sorted((tenant.test_world, other.test_world))
    await write_entries(ports, first, 1)
    await AuditChains(ports).chain(first)
    last = "INSERT INTO audit_chain VALUES ($1, $2, 'aud_last', '')"  # no number is free after this one
    async with ports.database.acquire() as connection:
        await connection.execute(last, first, 2**63 - 1)
    await write_entries(ports, first, 1)
    await write_entries(ports, second, 1)
    await AuditChains(ports).run()
    assert (await verify_chain(ports, second)).entries == 1


async def test_a_reader_of_the_api_can_compute_the_chain(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant
) -> None:
    """As docs/audit.md tells, without Lapel's code."""
    await write_entries(ports, tenant.test_world, 3)
    await AuditChains(ports).chain(tenant.test_world)
    exported = await client.get("/v1/audit-log/export", headers=tenant.headers)
    assert exported.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in exported.text.splitlines()]

    def compact(value: object) -> bytes:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()

    previous = bytes(32)
    for line in sorted(lines, key=lambda each: each["chain"]["number"]):
        details = {name: line[name] for name in ("before", "after", "address")}
        assert (
            hashlib.sha256(bytes.fromhex(line["salt"]) + compact(details)).hexdigest() == line["details_hash"]
        )
        actor = line["actor"]
        resource = (line["resource_type"], line["resource_id"])
        entry = [line["id"], line["created_at"], actor["kind"], actor["id"], line["action"], *resource]
        entry += [line["request_id"], line["details_hash"]]
        previous = hashlib.sha256(previous + compact(entry)).digest()
        assert previous.hex() == line["chain"]["hash"]
    assert len(lines) == 3


async def test_an_export_is_cut_by_time_and_into_pieces(
    client: httpx.AsyncClient, ports: Ports, tenant: Tenant
) -> None:
    await write_entries(ports, tenant.test_world, 1001)
    between = ports.clock.now()
    await write_entries(ports, tenant.test_world, 2)

    async def exported(**query: str) -> list[str]:
        answer = await client.get("/v1/audit-log/export", params=query, headers=tenant.headers)
        assert answer.status_code == 200
        return [json.loads(line)["id"] for line in answer.text.splitlines()]

    whole = await exported()
    assert len(whole) == len(set(whole)) == 1003
    assert await exported(until=between.isoformat()) == whole[:1001]
    assert await exported(since=between.isoformat()) == whole[1001:]
    assert await exported(since="2100-01-01T00:00:00Z") == []
    query = {"limit": "1", "until": between.isoformat()}
    listed = await client.get("/v1/audit-log", params=query, headers=tenant.headers)
    assert [entry["id"] for entry in listed.json()["data"]] == whole[1000:1001]
