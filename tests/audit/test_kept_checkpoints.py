"""What a person with all rights in the database can hide from the chain, copies of checkpoints show."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.identity import signing
from lapel.foundation.ports import Ports
from lapel.slices.audit.chain.chaining import AuditChains
from lapel.slices.audit.chain.checkpoints import EVERY
from lapel.slices.audit.chain.kept_checkpoints import KeptCheckpoints
from lapel.slices.audit.chain.verification import BrokenLink, verify_chain
from lapel.slices.audit.operator import OperatorAudit
from tests.audit.support import tamper, write_entries
from tests.support.tenants import Tenant

TOKENS = "SELECT token FROM audit_checkpoints WHERE world_id = $1 ORDER BY position"
# The end after entry 3, with all that tells of it.
CUT_OFF = (
    """DELETE FROM audit_log WHERE world_id = {w} AND id IN (
        SELECT entry_id FROM audit_chain WHERE world_id = {w} AND number > 3)""",
    "DELETE FROM audit_chain WHERE world_id = {w} AND number > 3",
    "DELETE FROM audit_checkpoints WHERE world_id = {w} AND number > 3",
)
# Another entry, and the server is made to chain and sign all of them anew.
SIGN_ANEW = (
    """UPDATE audit_log SET action = 'thing.forged' WHERE world_id = {w} AND id = (
        SELECT entry_id FROM audit_chain WHERE world_id = {w} AND number = 2)""",
    "INSERT INTO audit_unchained SELECT world_id, entry_id FROM audit_chain WHERE world_id = {w}",
    "DELETE FROM audit_chain WHERE world_id = {w}",
    "DELETE FROM audit_checkpoints WHERE world_id = {w}",
)


async def signed(ports: Ports, world: int) -> list[str]:
    """Ten entries; a worker's log, with checkpoints over 3 and 10 in both forms of a log."""
    clock = ManualClock(ports.clock.now())
    for count in (3, 7):
        await write_entries(ports, world, count)
        await AuditChains(replace(ports, clock=clock)).chain(world)
        clock.advance(EVERY)
    async with ports.database.acquire() as connection:
        one, two = [row["token"] for row in await connection.fetch(TOKENS, world)]
    return [
        "started",
        f'{{"number": 3, "token": "{one}", "event": "audit.checkpoint"}}',
        f"[info     ] audit.checkpoint               number=10 token={two} world=7",
        "eyJhbGciOiJub25lIn0.eyJhIjoxfQ.x",  # a token of another kind
    ]


async def found(ports: Ports, world: int, log: list[str] | None = None) -> BrokenLink | None:
    kept = None if log is None else KeptCheckpoints(ports.signer, log)
    return (await verify_chain(ports, world, kept=kept)).broken


async def test_a_good_log_agrees_with_the_checkpoints_that_were_kept(ports: Ports, tenant: Tenant) -> None:
    world = tenant.test_world
    log = await signed(ports, world)
    await write_entries(ports, world, 1)
    await AuditChains(ports).chain(world)
    kept = KeptCheckpoints(ports.signer, log * 2)
    assert kept.worlds == {(tenant.project_id, "test")}
    assert kept.unsigned == 0
    assert (await verify_chain(ports, world, kept=kept)).broken is None
    assert (await verify_chain(ports, tenant.live_world, kept=kept)).broken is None


async def test_an_end_that_was_cut_off_is_found(
    postgres: EmbeddedPostgres, ports: Ports, tenant: Tenant
) -> None:
    world = tenant.test_world
    log = await signed(ports, world)
    await tamper(postgres, ports, *CUT_OFF, world=world)
    assert await found(ports, world) is None
    broken = await found(ports, world, log)
    assert broken is not None
    assert (broken.kind, broken.number) == ("rewritten", 10)
    assert "the log ends before it: entries were removed or replaced" in broken.message
    # Also when the place of what was removed is filled again.
    await write_entries(ports, world, 20)
    await AuditChains(ports).chain(world)
    broken = await found(ports, world, log)
    assert broken is not None
    assert "the log up to this entry is another one" in broken.message


async def test_a_log_that_was_changed_and_signed_anew_is_found(
    postgres: EmbeddedPostgres, ports: Ports, tenant: Tenant
) -> None:
    world = tenant.test_world
    log = await signed(ports, world)
    await tamper(postgres, ports, *SIGN_ANEW, world=world)
    await AuditChains(ports).chain(world)
    assert await found(ports, world) is None
    broken = await found(ports, world, log)
    assert broken is not None
    assert (broken.kind, broken.number) == ("rewritten", 3)


async def test_a_restore_explains_only_what_it_lost(
    postgres: EmbeddedPostgres, ports: Ports, tenant: Tenant
) -> None:
    world, now = tenant.test_world, ports.clock.now()
    log = await signed(ports, world)
    await tamper(postgres, ports, *CUT_OFF, world=world)
    # The checkpoint over 10 was signed an hour after that over 3: after this backup, before this restore.
    operator = OperatorAudit(replace(ports, clock=ManualClock(now + 2 * EVERY)), tenant.project_id)
    await operator.record_restore(now + timedelta(minutes=1))
    broken = await found(ports, world, log)
    assert broken is not None
    assert "it was restored at" in broken.message
    assert "from a backup of" in broken.message
    # A backup that was begun later than the checkpoint was signed holds what the checkpoint covers.
    undo = "DELETE FROM audit_log WHERE world_id = {w} AND action = 'project.restored'"
    await tamper(postgres, ports, undo, world=world)
    await operator.record_restore(now + EVERY + timedelta(minutes=1))
    broken = await found(ports, world, log)
    assert broken is not None
    assert "entries were removed or replaced" in broken.message


async def test_a_checkpoint_of_another_key_proves_nothing(ports: Ports, tenant: Tenant) -> None:
    log = await signed(ports, tenant.test_world)
    kept = KeptCheckpoints(signing.signer("another-secret-that-is-long-enough-too", None), log)
    assert (kept.worlds, kept.unsigned) == (set(), 2)
