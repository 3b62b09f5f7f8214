"""A copied project is as one that was made over HTTP, and has nothing of another one."""

from __future__ import annotations

import json
import re

import httpx

from lapel.foundation.database.audit import hash_of
from lapel.foundation.ports import Ports
from lapel.slices.webhooks import signing_secrets
from tests.contract.copies import COLUMNS, PREFIXES, READ
from tests.contract.resources import Resources, populate

# What differs between two projects that are made over HTTP one after the other.
_CHANGING = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|[a-z]+_[0-9A-Za-z]{24}|-[0-9A-Za-z]{24}/|\d{4}-\d\d-\d\dT[0-9:.]+(Z|\+00:00)|\\\\x[0-9a-f]+|…\w{4}"
    r"|receiver\.example/\d+"
    r"|\"(world_id|inserted|config_revision)\": [1-9]\d*"
)


async def texts(ports: Ports, things: Resources) -> dict[str, str]:
    """The rows of both worlds in each table."""
    worlds = [things.tenant.live_world, things.tenant.test_world]
    async with ports.database.acquire() as connection:
        tables = [row["table_name"] for row in await connection.fetch(COLUMNS)]
        rows = await connection.fetch(" UNION ALL ".join(READ.format(each) for each in tables), worlds)
    return {table: text or "[]" for table, text in rows}


def shapes(rows: dict[str, str]) -> dict[str, list[str]]:
    """The rows without what is each project's own; bytes by their length."""
    found: dict[str, list[str]] = {}
    for table, text in rows.items():
        decoded = json.loads(text)
        for each in decoded:
            each.pop("last_used_at", None)  # of a key: written a while after it was used
        found[table] = sorted(_CHANGING.sub(shape, json.dumps(each, ensure_ascii=False)) for each in decoded)
    return found


def shape(found: re.Match[str]) -> str:
    """What stands for a value that is each project's own."""
    is_bytes = found[0].startswith("\\\\x")
    return f"{len(found[0])} bytes" if is_bytes else "#"


async def test_a_copy_is_as_what_is_made_over_http(client: httpx.AsyncClient, ports: Ports) -> None:
    made = [await populate(client, ports) for _ in range(4)]
    before = [await texts(ports, each) for each in made]
    first = shapes(before[0])
    assert sum(map(len, first.values())) > 90
    for each in before[1:]:
        assert shapes(each) == first
    for each, rows in zip(made, before, strict=True):
        others = {
            name
            for other in made
            if other is not each
            for name in (*other.everything, other.tenant.project_id)
        }
        text = " ".join(rows.values())
        assert not {name for name in others if name in text or name.encode().hex() in text}
    assert len({token for each in made for token in each.tokens}) == 4 * len(made[0].tokens)
    assert len(made[0].tokens) == 12
    objects: list[list[tuple[str, int]]] = []
    for each in made:
        found = [
            (re.sub(r"[0-9A-Za-z]{24}|[0-9a-f-]{36}", "", info.key), info.size)
            for prefix in PREFIXES
            async for info in ports.store.list(f"{prefix}/{each.tenant.project_id}/")
        ]
        objects.append(sorted(found))
    assert objects == [objects[0]] * 4
    assert objects[0]


async def test_secrets_and_hashes_of_a_copy_are_right(client: httpx.AsyncClient, ports: Ports) -> None:
    for things in [await populate(client, ports) for _ in range(3)]:
        rows = {table: json.loads(text) for table, text in (await texts(ports, things)).items()}
        world = things.tenant.test_world
        secrets = [(row["id"], bytes.fromhex(row["sealed_secret"][2:])) for row in rows["webhooks"]]
        assert len({signing_secrets.opened(ports.sealer, world, *each) for each in secrets}) == 2
        details = {row["entry_id"]: row for row in rows["audit_details"]}
        for row in rows["audit_log"]:
            of = details[row["id"]]
            salt = bytes.fromhex(of["salt"][2:])
            assert hash_of(salt, of["details"].encode()).hex() == row["details_hash"][2:]
        hashes = {each["secret_hash"] for each in rows["api_keys"]}
        keys = (things.tenant.live_key, things.tenant.test_key, things.other_scoped_key)
        assert {"\\x" + ports.hasher.hash(each).hex() for each in keys} < hashes
