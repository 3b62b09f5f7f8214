"""A request that runs while its end user is deleted leaves nothing of the end user behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import httpx
import pytest

from lapel.foundation.http.operations import Operation
from lapel.foundation.ports import Ports
from lapel.slices.audit.chain.chaining import AuditChains
from tests.contract.belongings import AUDITED, NOBODY, UNWORN, owners, prepare, resource_types
from tests.contract.resources import Resources, bearer_of, named
from tests.erasure.support import erase_released
from tests.support.a_life import ALLOWED, naming
from tests.support.erasing import delete_rows
from tests.support.locks import until_waiting

# An entry of the audit log waits for the lock of the test, but the entry of the deletion does not.
GATE = """
CREATE FUNCTION wait_at_the_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(77);
    RETURN NEW;
END $$;
CREATE TRIGGER gate BEFORE INSERT ON audit_log FOR EACH ROW
    WHEN (NEW.action <> 'end_user.deleted') EXECUTE FUNCTION wait_at_the_gate();
"""
NO_GATE = "DROP TRIGGER gate ON audit_log; DROP FUNCTION wait_at_the_gate();"
DETAILS = "SELECT details FROM audit_details WHERE world_id = $1 AND end_user_id = $2"
HELD = "SELECT resource_type, resource_id FROM holds WHERE world_id = $1 AND released_at IS NULL"
# The operations whose entry belongs to the end user. Of those that make or delete an end user, nothing runs.
BELONGING = [
    each
    for each in AUDITED
    if {owners()[type_] for type_ in resource_types(each)} != {NOBODY}
    and each.name not in UNWORN | {"create_end_user", "delete_end_user", "release_end_user"}
]


@pytest.fixture
async def gate(ports: Ports) -> AsyncGenerator[None]:
    """Entries of the audit log can be stopped."""
    async with ports.database.acquire() as connection:
        await connection.execute(GATE)
    yield
    async with ports.database.acquire() as connection:
        await connection.execute(NO_GATE)


async def delete(client: httpx.AsyncClient, ports: Ports, things: Resources) -> None:
    """Delete the end user, and do the work of the job once."""
    path, headers = f"/v1/end-users/{things.end_user.id}", things.tenant.headers
    assert (await client.delete(path, headers=headers)).status_code == 204
    await delete_rows(ports, things.tenant.test_world, things.end_user.id)


async def release(client: httpx.AsyncClient, ports: Ports, things: Resources) -> None:
    """Release every hold, and do the work of the jobs. A release locks nothing that the deletion waits for:
    the worker erases what its entry has."""
    async with ports.database.acquire() as connection:
        rows = await connection.fetch(HELD, things.tenant.test_world)
    for type_, resource_id in rows:
        path = f"/v1/{type_.replace('_', '-')}s/{resource_id}/hold"
        answer = await client.delete(path, headers=things.tenant.headers)
        assert answer.status_code == 204, answer.text
    await erase_released(ports)
    await AuditChains(ports).chain(things.tenant.test_world)


@pytest.mark.deep
@pytest.mark.usefixtures("gate")
@named(BELONGING)
async def test_it_leaves_nothing(client: httpx.AsyncClient, ports: Ports, operation: Operation) -> None:
    things, ready = await prepare(client, ports, operation)
    token = bearer_of(operation, things)["Authorization"]
    async with ports.database.acquire() as connection:
        await connection.execute("SELECT pg_advisory_lock(77)")
        try:
            request = ready.send(client, token, **{"Idempotency-Key": "running"})
            running = asyncio.create_task(request)
            await until_waiting(ports, 1)
            deleting = asyncio.create_task(delete(client, ports, things))
            # The deletion waits for the request; or, of what the request has not locked, it does not.
            waiting = asyncio.create_task(until_waiting(ports, 2))
            await asyncio.wait({deleting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        finally:
            await connection.execute("SELECT pg_advisory_unlock(77)")
    (answer,) = await asyncio.gather(running, return_exceptions=True)
    if isinstance(answer, httpx.RemoteProtocolError):  # the deletion came before the end of the zip
        assert operation.name == "export_end_user"
    else:
        assert not isinstance(answer, BaseException), answer
        assert answer.is_success or answer.status_code == 404, answer.text
    await deleting
    if operation.name != "release_recording":
        async with ports.database.acquire() as connection:
            assert await connection.fetch(DETAILS, things.tenant.test_world, things.end_user.id) == []
    await release(client, ports, things)
    assert await naming(ports, things.end_user.id) - ALLOWED == {("pgqueuer", "payload")}
