"""`verify_chain` names the place of every change that a role with all rights makes in the log."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import msgspec
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.database import audit
from lapel.foundation.ports import Ports
from lapel.slices.audit.chain import chain_queries
from lapel.slices.audit.chain.chaining import AuditChains
from lapel.slices.audit.chain.checkpoints import EVERY
from lapel.slices.audit.chain.entry_hash import BEGINNING, next_hash
from lapel.slices.audit.chain.verification import entry_of, verify_chain
from tests.audit.support import tamper, write_entries
from tests.support.tenants import Tenant

AT = "(SELECT entry_id FROM audit_chain WHERE world_id = {w} AND number = 4)"
ENTRY = f"world_id = {{w}} AND id = {AT}"
# Statements, and the kind and number of what is found.
TAMPERED: dict[str, tuple[tuple[str, ...], str, int | None]] = {
    "an entry was changed": ((f"UPDATE audit_log SET action = 'thing.other' WHERE {ENTRY}",), "changed", 4),
    "an actor was changed": ((f"UPDATE audit_log SET actor_id = 'key_x' WHERE {ENTRY}",), "changed", 4),
    "a time was changed": (
        (f"UPDATE audit_log SET created_at = created_at - interval '1 day' WHERE {ENTRY}",), "changed", 4,
    ),
    "an entry was deleted": ((f"DELETE FROM audit_log WHERE {ENTRY}",), "missing", 4),
    "an entry was deleted with its link": (
        (
            f"DELETE FROM audit_log WHERE {ENTRY}",
            "DELETE FROM audit_chain WHERE world_id = {w} AND number = 4",
        ),
        "missing", 4,
    ),
    "links were renumbered over a gap": (
        (
            f"DELETE FROM audit_log WHERE {ENTRY}",
            "DELETE FROM audit_chain WHERE world_id = {w} AND number = 4",
            "UPDATE audit_chain SET number = number + 1000 WHERE world_id = {w} AND number > 4",
            "UPDATE audit_chain SET number = number - 1001 WHERE world_id = {w} AND number > 1000",
        ),
        "changed", 4,
    ),
    "two entries were swapped": (
        (
            "UPDATE audit_chain SET number = -1 WHERE world_id = {w} AND number = 4",
            "UPDATE audit_chain SET number = 4 WHERE world_id = {w} AND number = 5",
            "UPDATE audit_chain SET number = 5 WHERE world_id = {w} AND number = -1",
        ),
        "changed", 4,
    ),
    "a hash was changed": (
        ("UPDATE audit_chain SET hash = sha256('') WHERE world_id = {w} AND number = 4",), "changed", 4,
    ),
    "values were changed": (
        (f"UPDATE audit_details SET details = '{{{{}}}}' WHERE world_id = {{w}} AND entry_id = {AT}",),
        "details", 4,
    ),
    "a salt was changed": (
        (f"UPDATE audit_details SET salt = 'x' WHERE world_id = {{w}} AND entry_id = {AT}",), "details", 4,
    ),
    "an entry was inserted": (
        (
            """INSERT INTO audit_log
                (world_id, id, actor_kind, action, resource_type, created_at, details_hash)
                VALUES ({w}, 'aud_0000', 'operator', 'thing.made', 'thing', now(), 'x')""",
        ),
        "inserted", None,
    ),
    "the end was cut off": (
        (
            """DELETE FROM audit_log WHERE world_id = {w} AND id IN (
                SELECT entry_id FROM audit_chain WHERE world_id = {w} AND number > 4)""",
            "DELETE FROM audit_chain WHERE world_id = {w} AND number > 4",
        ),
        "missing", 5,
    ),
    "the end of the chain was cut off": (
        (
            "DELETE FROM audit_chain WHERE world_id = {w} AND number > 4",
            "DELETE FROM audit_checkpoints WHERE world_id = {w} AND number > 4",
        ),
        "inserted", None,
    ),
    "the first checkpoint was deleted": (
        ("DELETE FROM audit_checkpoints WHERE world_id = {w} AND position = 1",), "missing", 10,
    ),
    "a checkpoint's number was changed": (
        ("UPDATE audit_checkpoints SET number = 5 WHERE world_id = {w} AND position = 1",), "checkpoint", 5,
    ),
    "a checkpoint's token was changed": (
        (
            """UPDATE audit_checkpoints SET token = overlay(token placing 'AAAA' from length(token) - 20)
                WHERE world_id = {w} AND position = 2""",
        ),
        "checkpoint", 12,
    ),
    "a checkpoint was made younger": (
        ("""UPDATE audit_checkpoints SET created_at = created_at + interval '1 hour'
            WHERE world_id = {w} AND position = 1""",), "checkpoint", 3,
    ),
    "a checkpoint is no token": (
        ("UPDATE audit_checkpoints SET token = 'x' WHERE world_id = {w} AND position = 1",), "checkpoint", 3,
    ),
}  # fmt: skip


async def chained(ports: Ports, world: int) -> None:
    """Twelve entries; checkpoints over 3, 10 and 12."""
    clock = ManualClock(ports.clock.now())
    for count in (3, 7, 2):
        await write_entries(ports, world, count)
        await AuditChains(replace(ports, clock=clock)).chain(world)
        clock.advance(EVERY)


async def found(ports: Ports, world: int) -> tuple[str, int | None] | None:
    """The kind and number of the first broken link."""
    broken = (await verify_chain(ports, world)).broken
    return None if broken is None else (broken.kind, broken.number)


@pytest.mark.parametrize("name", TAMPERED)
async def test_it_is_found_and_its_place_is_named(
    postgres: EmbeddedPostgres, ports: Ports, tenant: Tenant, name: str
) -> None:
    world = tenant.test_world
    await chained(ports, world)
    assert await found(ports, world) is None
    statements, kind, number = TAMPERED[name]
    await tamper(postgres, ports, *statements, world=world)
    assert await found(ports, world) == (kind, number)
    # Work goes on, and nothing is signed that would hide it.
    await write_entries(ports, world, 1)
    await AuditChains(ports).chain(world)
    assert await found(ports, world) is not None


async def rewritten(ports: Ports, world: int, number: int) -> list[str]:
    """Statements that change an entry, and compute the chain anew from there on."""
    async with ports.database.acquire() as connection:
        links = await chain_queries.read_links(connection, world, 0, 100)
    statements: list[str] = []
    previous = BEGINNING
    for link in links:
        entry = entry_of(link)
        assert entry is not None
        if link.number == number:
            entry = msgspec.structs.replace(entry, action="thing.forged")
            statements.append(
                f"UPDATE audit_log SET action = 'thing.forged' WHERE world_id = {world} AND id = '{entry.id}'"
            )
        previous = next_hash(previous, entry)
        statements.append(
            f"UPDATE audit_chain SET hash = '\\x{previous.hex()}'"
            f" WHERE world_id = {world} AND number = {link.number}"
        )
    return statements


async def test_a_chain_that_was_computed_anew_contradicts_its_checkpoints(
    postgres: EmbeddedPostgres, ports: Ports, tenant: Tenant
) -> None:
    world = tenant.test_world
    await chained(ports, world)
    await tamper(postgres, ports, *await rewritten(ports, world, 5), world=world)
    assert await found(ports, world) == ("checkpoint", 10)
    # Without the checkpoints that contradict it, the next one is missing.
    forget = "DELETE FROM audit_checkpoints WHERE world_id = {w} AND position = 2"
    await tamper(postgres, ports, forget, world=world)
    assert await found(ports, world) == ("missing", 12)


async def test_a_checkpoint_of_another_world_is_refused(
    postgres: EmbeddedPostgres, ports: Ports, tenant: Tenant
) -> None:
    for world in (tenant.test_world, tenant.live_world):
        await chained(ports, world)
    move = (
        "UPDATE audit_checkpoints c SET token = o.token FROM audit_checkpoints o"
        f" WHERE c.world_id = {tenant.test_world} AND o.world_id = {tenant.live_world}"
        " AND c.position = 1 AND o.position = 1"
    )
    await tamper(postgres, ports, move, world=0)
    assert await found(ports, tenant.test_world) == ("checkpoint", 3)
    assert await found(ports, tenant.live_world) is None


async def test_erased_details_are_not_broken(ports: Ports, tenant: Tenant) -> None:
    world = tenant.test_world
    await write_entries(ports, world, 2, about="eu_gone")
    await write_entries(ports, world, 2)
    await AuditChains(ports).chain(world)
    async with ports.database.transaction() as connection:
        assert await audit.erase_some_details(connection, world, "eu_gone", 10) == 2
    report = await verify_chain(ports, world)
    assert (report.entries, report.erased, report.broken) == (4, 2, None)


@pytest.mark.parametrize("seed", range(20))
async def test_any_change_of_any_column_is_found(
    postgres: EmbeddedPostgres, ports: Ports, tenant: Tenant, seed: int
) -> None:
    """A random row of a random table: deleted, or with a random column set to another value."""
    world, random = tenant.test_world, Random(seed)
    await chained(ports, world)
    table, columns = random.choice(list(COLUMNS.items()))
    async with ports.database.acquire() as connection:
        rows = await connection.fetch(
            f"SELECT ctid::text AS place, * FROM {table} WHERE world_id = $1 ORDER BY 3", world
        )
    # The newest checkpoint may be cut off: docs/audit.md tells it.
    row = random.choice(rows[:-1] if table == "audit_checkpoints" else rows)
    if table != "audit_details" and random.random() < 0.3:
        change = f"DELETE FROM {table}"
    else:
        column = random.choice(columns)
        change = f"UPDATE {table} SET {column} = {other_value(random, row[column])}"
    await tamper(postgres, ports, f"{change} WHERE ctid = '{row['place']}'", world=world)
    assert await found(ports, world) is not None, change


# The columns that carry meaning.
COLUMNS = {
    "audit_log": ["id", "actor_kind", "actor_id", "action", "resource_type", "resource_id", "request_id",
                  "created_at", "details_hash"],
    "audit_details": ["salt", "details"],
    "audit_chain": ["number", "entry_id", "hash"],
    "audit_checkpoints": ["position", "number", "created_at", "token"],
}  # fmt: skip


def other_value(random: Random, value: object) -> str:
    """SQL for a value of the same type that differs."""
    match value:
        case bytes():
            at = random.randrange(len(value))
            changed = value[:at] + bytes([value[at] ^ random.randint(1, 255)]) + value[at + 1 :]
            return f"'\\x{changed.hex()}'"
        case int():
            return str(value + random.choice([-1000, 1000]))
        case datetime():
            return f"'{(value + timedelta(seconds=random.choice([-1, 1]))).isoformat()}'"
        case str():
            at = random.randrange(len(value))
            return f"'{value[:at]}~{value[at + 1 :]}'"
        case _:
            return "'something'"
