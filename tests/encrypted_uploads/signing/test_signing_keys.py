"""The keys that sign for a project: made once, sealed, rotated, and of no use to another project."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import asyncpg
import pytest

from lapel.foundation.core.errors import NotFound, Unavailable
from lapel.foundation.identity import seal
from lapel.foundation.identity.sealed_values import reseal
from lapel.foundation.ports import Ports
from lapel.slices.encrypted_uploads.documents import signatures
from lapel.slices.encrypted_uploads.signing.signing_keys import (
    SigningKey,
    SigningKeys,
    walk_sealed_signing_keys,
)
from tests.support.device_verification import verify_signature
from tests.support.locks import until_waiting
from tests.support.tenants import Tenant

ROWS = "SELECT * FROM document_signing_keys WHERE project_id = $1 ORDER BY key_id"
ENTRIES = """
SELECT a.world_id, a.action, a.actor_kind, a.actor_id, a.resource_type, a.resource_id, d.details::text
FROM audit_log a JOIN audit_details d ON d.world_id = a.world_id AND d.entry_id = a.id
WHERE a.world_id = ANY($1) AND a.action LIKE 'signing_key.%' ORDER BY a.created_at, a.world_id
"""
MOVE = """
UPDATE document_signing_keys m SET sealed_private_key = o.sealed_private_key
FROM document_signing_keys o WHERE m.project_id = $1 AND o.project_id = $2
"""
MOVE_BOTH = """
UPDATE document_signing_keys m SET sealed_private_key = o.sealed_private_key, public_key = o.public_key
FROM document_signing_keys o WHERE m.project_id = $1 AND o.project_id = $2
"""
MOVE_PUBLIC = """
UPDATE document_signing_keys m SET public_key = o.public_key
FROM document_signing_keys o WHERE m.project_id = $1 AND o.project_id = $2
"""
MESSAGE = b"a document"


def under(ports: Ports, secret: str, previous: str | None = None) -> SigningKeys:
    """The keys as a server with another secret has them."""
    return SigningKeys(dataclasses.replace(ports, sealer=seal.sealer(secret, previous)))


async def active(keys: SigningKeys, ports: Ports, project_id: str) -> SigningKey:
    async with ports.database.transaction() as connection:
        return await keys.active(connection, project_id)


async def rotate(keys: SigningKeys, ports: Ports, project_id: str) -> int:
    async with ports.database.transaction() as connection:
        return await keys.rotate(connection, project_id)


async def prepare(keys: SigningKeys, ports: Ports, project_id: str) -> int:
    async with ports.database.transaction() as connection:
        return await keys.prepare(connection, project_id)


async def rows(ports: Ports, sql: str, *arguments: object) -> list[asyncpg.Record]:
    async with ports.database.acquire() as connection:
        return await connection.fetch(sql, *arguments)


@pytest.fixture
def keys(ports: Ports) -> SigningKeys:
    return SigningKeys(ports)


async def test_the_first_use_makes_the_first_key_which_then_stays(
    keys: SigningKeys, ports: Ports, tenant: Tenant
) -> None:
    first, again = [await active(keys, ports, tenant.project_id) for _ in range(2)]
    (row,) = await rows(ports, ROWS, tenant.project_id)
    assert first.key_id == again.key_id == row["key_id"] == 1
    signature = signatures.sign(again.private_key, MESSAGE)
    verify_signature(signatures.public_key_of_raw(row["public_key"]), MESSAGE, signature)
    private = signatures.private_bytes(first.private_key)
    assert private not in row["sealed_private_key"]
    assert private.hex() not in repr(first)
    assert str(first.private_key) not in repr(first)


async def test_what_is_rolled_back_leaves_no_key(keys: SigningKeys, ports: Ports, tenant: Tenant) -> None:
    async def fail() -> None:
        async with ports.database.transaction() as connection:
            await keys.active(connection, tenant.project_id)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert not await rows(ports, ROWS, tenant.project_id)


async def test_a_race_for_the_first_key_makes_one(keys: SigningKeys, ports: Ports, tenant: Tenant) -> None:
    found = await asyncio.gather(*(active(keys, ports, tenant.project_id) for _ in range(8)))
    assert {each.key_id for each in found} == {1}
    assert len({signatures.private_bytes(each.private_key) for each in found}) == 1
    assert len(await rows(ports, ROWS, tenant.project_id)) == 1
    worlds = [tenant.live_world, tenant.test_world]
    assert [row["world_id"] for row in await rows(ports, ENTRIES, worlds)] == worlds


async def test_rotations_at_once_make_a_key_each_and_one_is_active(
    keys: SigningKeys, ports: Ports, tenant: Tenant
) -> None:
    """Also while the first key is being made, and while keys are used."""
    project = tenant.project_id
    rotations = [rotate(keys, ports, project) for _ in range(4)]
    uses = [active(keys, ports, project) for _ in range(4)]
    prepared = [prepare(keys, ports, project) for _ in range(4)]
    _, used = await asyncio.gather(asyncio.gather(*rotations, *prepared), asyncio.gather(*uses))
    found = await rows(ports, ROWS, tenant.project_id)
    assert [row["key_id"] for row in found] == list(range(1, len(found) + 1))
    states = [(row["activated_at"] is not None, row["retired_at"] is not None) for row in found]
    assert states.count((True, False)) == 1
    assert states.count((False, False)) <= 1
    assert {each.key_id for each in used} <= {row["key_id"] for row in found}
    assert len({row["public_key"] for row in found}) == len(found) >= 4


async def test_a_retired_key_signs_nothing_and_stays_listed(
    keys: SigningKeys, ports: Ports, tenant: Tenant
) -> None:
    first = await active(keys, ports, tenant.project_id)
    assert await rotate(keys, ports, tenant.project_id) == 2
    assert (await active(keys, ports, tenant.project_id)).key_id == 2
    old, new = await rows(ports, ROWS, tenant.project_id)
    assert (old["sealed_private_key"], new["retired_at"]) == (None, None)
    async with ports.database.acquire() as connection:
        listed = await keys.list(connection, tenant.project_id)
    assert [(each.key_id, each.retired_at is None) for each in listed] == [(1, False), (2, True)]
    signature = signatures.sign(first.private_key, MESSAGE)
    verify_signature(signatures.public_key_of_raw(listed[0].public_key), MESSAGE, signature)
    entries = await rows(ports, ENTRIES, [tenant.test_world])
    assert [(row["action"], row["actor_kind"], row["actor_id"], row["resource_id"]) for row in entries] == [
        ("signing_key.created", "system", "encrypted_uploads", "1"),
        ("signing_key.rotated", "operator", None, "2"),
    ]
    assert json.loads(entries[1]["details"]) == {
        "before": {"active": 1},
        "after": {"active": 2},
        "address": None,
    }


async def test_a_prepared_key_signs_after_the_next_rotation(
    keys: SigningKeys, ports: Ports, tenant: Tenant
) -> None:
    project = tenant.project_id
    await active(keys, ports, project)
    assert [await prepare(keys, ports, project) for _ in range(2)] == [2, 2]
    assert (await active(keys, ports, project)).key_id == 1
    assert await rotate(keys, ports, project) == 2
    assert (await active(keys, ports, project)).key_id == 2
    assert await prepare(keys, ports, project) == 3
    async with ports.database.acquire() as connection:
        listed = await keys.list(connection, project)
    states = [(each.activated_at is not None, each.retired_at is not None) for each in listed]
    assert states == [(True, True), (True, False), (False, False)]
    entries = await rows(ports, ENTRIES, [tenant.live_world])
    actions = ["created", "prepared", "rotated", "prepared"]
    assert [row["action"] for row in entries] == [f"signing_key.{each}" for each in actions]


async def test_a_prepared_key_without_another_one_signs_at_once(
    keys: SigningKeys, ports: Ports, tenant: Tenant
) -> None:
    assert await prepare(keys, ports, tenant.project_id) == 1
    assert (await active(keys, ports, tenant.project_id)).key_id == 1


async def test_a_rotation_waits_for_those_who_sign(keys: SigningKeys, ports: Ports, tenant: Tenant) -> None:
    await active(keys, ports, tenant.project_id)
    async with ports.database.transaction() as connection:
        signing = await keys.active(connection, tenant.project_id)
        rotating = asyncio.create_task(rotate(keys, ports, tenant.project_id))
        await until_waiting(ports, 1)
        assert signing.key_id == 1
    assert await rotating == 2


async def test_who_waits_for_a_rotation_signs_with_the_new_key(
    keys: SigningKeys, ports: Ports, tenant: Tenant
) -> None:
    await active(keys, ports, tenant.project_id)
    async with ports.database.transaction() as connection:
        await keys.rotate(connection, tenant.project_id)
        waiting = asyncio.create_task(active(keys, ports, tenant.project_id))
        await until_waiting(ports, 1)
    assert (await waiting).key_id == 2


async def test_projects_have_keys_of_their_own(
    keys: SigningKeys, ports: Ports, tenant: Tenant, stranger: Tenant
) -> None:
    own, other = [await active(keys, ports, each.project_id) for each in (tenant, stranger)]
    assert own.key_id == other.key_id == 1
    assert signatures.private_bytes(own.private_key) != signatures.private_bytes(other.private_key)
    await rotate(keys, ports, stranger.project_id)
    assert (await active(keys, ports, tenant.project_id)).key_id == 1
    async with ports.database.acquire() as connection:
        assert len(await keys.list(connection, tenant.project_id)) == 1


@pytest.mark.parametrize("move", [MOVE, MOVE_BOTH, MOVE_PUBLIC])
async def test_a_key_of_another_project_never_signs(
    keys: SigningKeys, ports: Ports, tenant: Tenant, stranger: Tenant, move: str
) -> None:
    """Somebody who can write rows, and does not have the secret, cannot let one project sign for another."""
    for each in (tenant, stranger):
        await active(keys, ports, each.project_id)
    await rows(ports, move, tenant.project_id, stranger.project_id)
    with pytest.raises(Unavailable):
        await active(keys, ports, tenant.project_id)


async def test_another_secret_opens_nothing_and_the_previous_secret_does(
    ports: Ports, tenant: Tenant
) -> None:
    before = await active(under(ports, "old"), ports, tenant.project_id)
    with pytest.raises(Unavailable, match="lapel doctor"):
        await active(under(ports, "new"), ports, tenant.project_id)
    after = await active(under(ports, "new", "old"), ports, tenant.project_id)
    assert signatures.private_bytes(after.private_key) == signatures.private_bytes(before.private_key)
    # A rotation needs no old key.
    assert await rotate(under(ports, "newest"), ports, tenant.project_id) == 2
    assert (await active(under(ports, "newest"), ports, tenant.project_id)).key_id == 2


async def test_what_is_sealed_again_needs_the_previous_secret_no_more(
    ports: Ports, tenant: Tenant, stranger: Tenant
) -> None:
    project = tenant.project_id
    before = await active(under(ports, "first"), ports, project)
    await prepare(under(ports, "first"), ports, project)
    await active(under(ports, "none of both"), ports, stranger.project_id)
    async with ports.database.transaction() as connection:
        for expected in (2, 0):
            values = walk_sealed_signing_keys(connection, 1)
            assert (await reseal(connection, seal.sealer("second", "first"), values)).resealed == expected
    after = await active(under(ports, "second"), ports, project)
    assert signatures.private_bytes(after.private_key) == signatures.private_bytes(before.private_key)
    await rotate(under(ports, "second"), ports, project)
    assert (await active(under(ports, "second"), ports, project)).key_id == 2
    assert (await active(under(ports, "none of both"), ports, stranger.project_id)).key_id == 1


async def test_an_unknown_project_gets_no_key(keys: SigningKeys, ports: Ports) -> None:
    with pytest.raises(NotFound):
        await rotate(keys, ports, "proj_nobody")
    with pytest.raises(NotFound):
        await prepare(keys, ports, "proj_nobody")


async def test_a_key_is_in_no_log(
    keys: SigningKeys, ports: Ports, tenant: Tenant, caplog: Any, capsys: Any
) -> None:
    key = await active(keys, ports, tenant.project_id)
    said = caplog.text + "".join(capsys.readouterr())
    entries = await rows(ports, ENTRIES, [tenant.live_world, tenant.test_world])
    assert len(entries) == 2
    assert signatures.private_bytes(key.private_key).hex() not in said + str([dict(row) for row in entries])
