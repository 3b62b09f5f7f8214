"""Copies of a project's rows and objects, under ids, tokens and secrets of their own.

To make one of everything over HTTP takes some forty requests. A copy has the same rows in a world of its own.
Nothing of the copied world stands in it: each id, token, hash and secret is new. Times stay. The jobs of the
queue are not copied: no worker of these tests runs them.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from os import urandom
from typing import Any

from lapel.foundation.database.audit import hash_of
from lapel.foundation.identity.tokens import hint, new_token
from lapel.foundation.ports import Ports
from lapel.foundation.storage.errors import ObjectMissing
from lapel.slices.encrypted_uploads.sessions.issuance import recipient_context
from lapel.slices.encrypted_uploads.signing.signing_keys import SigningKeys
from lapel.slices.webhooks import signing_secrets
from tests.support.tenants import Tenant, make_worlds

# A command expires five minutes after it is made, so old rows are copied no more.
LASTS = 60.0  # seconds
COLUMNS = """
SELECT table_name, array_agg(column_name::text) AS columns FROM information_schema.columns
WHERE table_schema = 'public' AND coalesce(column_default, '') NOT LIKE 'nextval(%' AND table_name IN (
    SELECT table_name FROM information_schema.columns WHERE column_name = 'world_id')
    AND table_name !~ '^search_vectors_[0-9]' -- partitions
GROUP BY table_name ORDER BY table_name
"""
READ = """
SELECT '{0}', jsonb_agg(to_jsonb(t) ORDER BY to_jsonb(t)->>'id')::text FROM {0} t WHERE world_id = ANY($1)
"""
WRITE = """
{0}_rows AS (INSERT INTO {0} ({1}) SELECT {1} FROM jsonb_populate_recordset(NULL::{0}, $1::jsonb->'{0}'))
"""
PREFIXES = ("staging", "media", "firmware", "sealed")
_ID = re.compile(r"(?<![A-Za-z0-9])[a-z]+_[0-9A-Za-z]{24}(?![0-9A-Za-z])")
_BYTES = re.compile(r"\\\\x((?:[0-9a-f]{2})+)")
_HASH = re.compile(r'"(?:secret|token)_hash": "\\\\x([0-9a-f]{64})"')

# All new values by the old ones; a value may be made of the values before it.
Values = dict[str, str]


@dataclass(frozen=True, slots=True)
class Model:
    """The rows of a project's worlds as text, cut at each value that a copy has anew."""

    tenant: Tenant
    made: float  # by the monotonic clock
    write: str
    parts: list[str]
    ids: list[str]
    tokens: list[str]
    # What is not an id nor a token: the old value, and what makes the new one.
    more: dict[str, Callable[[Values, Tenant], str]]
    objects: dict[str, str]  # where a copy of the object lies, by its name

    @property
    def lasts(self) -> bool:
        """Whether the rows are young enough to be copied."""
        return time.monotonic() - self.made < LASTS

    async def copy(self, ports: Ports) -> Mapping[str, str]:
        """A new project with the same rows and objects. Ids and tokens of the new one, by the old ones.

        The numbers of the worlds are among them, as text.
        """
        values = {each: ports.ids.new(each.partition("_")[0]) for each in self.ids}
        values |= {each: new_token(each.rpartition("_")[0]) for each in self.tokens}
        project, live, test = await make_worlds(ports)
        old = self.tenant
        values |= {old.project_id: project, str(old.live_world): str(live), str(old.test_world): str(test)}
        tenant = Tenant(project, live, test, values[old.live_key], values[old.test_key])
        filled = {**values, **{each.encode().hex(): values[each].encode().hex() for each in self.ids}}
        filled[old.project_id.encode().hex()] = project.encode().hex()
        filled |= {each: make(values, tenant) for each, make in self.more.items()}
        text = "".join(filled[part] if at % 2 else part for at, part in enumerate(self.parts))
        async with ports.database.transaction() as connection:
            await connection.execute(self.write, text)
            await _UnauditedKeys(ports).active(connection, project)  # keys are of no world
        for name, kept in self.objects.items():
            await ports.store.copy(kept, _replaced(values, name))
        return values


async def read_model(ports: Ports, tenant: Tenant, tokens: list[str]) -> Model:
    """What a copy of the project is made from. `tokens`: of all kinds, also the tenant's keys."""
    worlds = [tenant.live_world, tenant.test_world]
    async with ports.database.acquire() as connection:
        columns = {row["table_name"]: ", ".join(row["columns"]) for row in await connection.fetch(COLUMNS)}
        found = await connection.fetch(" UNION ALL ".join(READ.format(each) for each in columns), worlds)
    rows: dict[str, str] = {table: text for table, text in found if text is not None}
    text = "{" + ", ".join(f'"{table}": {each}' for table, each in rows.items()) + "}"
    hidden = " ".join(bytes.fromhex(each).decode("latin-1") for each in _BYTES.findall(text))
    ids = sorted({*_ID.findall(text), *_ID.findall(hidden)} - {tenant.project_id}, key=_by_time)
    more = _others(ports, json.loads(text), text, tenant, tokens)
    names = [*ids, tenant.project_id]
    olds = [*names, *(each.encode().hex() for each in names), *more]
    cut = re.compile("|".join(map(re.escape, sorted(olds, key=len, reverse=True))))
    return Model(
        tenant=tenant,
        made=time.monotonic(),
        write=f"WITH {', '.join(WRITE.format(each, columns[each]) for each in rows)} SELECT",
        parts=re.split(f"({cut.pattern})", text),
        ids=ids,
        tokens=tokens,
        more=more,
        objects=await _keep_objects(ports, tenant.project_id),
    )


def _others(
    ports: Ports, rows: dict[str, Any], text: str, tenant: Tenant, tokens: list[str]
) -> dict[str, Callable[[Values, Tenant], str]]:
    """Worlds, hashes of tokens, hints of keys, secrets of webhooks, and hashes of audited details."""
    more: dict[str, Callable[[Values, Tenant], str]] = {
        f'"world_id": {tenant.live_world},': lambda _, new: f'"world_id": {new.live_world},',
        f'"world_id": {tenant.test_world},': lambda _, new: f'"world_id": {new.test_world},',
        f'"world_id": {tenant.live_world}}}': lambda _, new: f'"world_id": {new.live_world}}}',
        f'"world_id": {tenant.test_world}}}': lambda _, new: f'"world_id": {new.test_world}}}',
    }
    # A token that nobody has kept gets the hash of none.
    more |= {each: lambda *_: urandom(32).hex() for each in _HASH.findall(text)}
    for token in tokens:
        more[ports.hasher.hash(token).hex()] = lambda new, _, token=token: ports.hasher.hash(new[token]).hex()
        more[hint(token)] = lambda new, _, token=token: hint(new[token])
    for row in rows["webhooks"]:
        more[row["sealed_secret"].removeprefix("\\x")] = partial(_sealed, ports, row["id"])
    for row in rows["encrypted_upload_sessions"]:
        more[row["sealed_recipient_key"].removeprefix("\\x")] = partial(_sealed_again, ports, row)
    hashes = {row["id"]: row["details_hash"] for row in rows["audit_log"]}
    for row in rows["audit_details"]:
        details, salt = row["details"], bytes.fromhex(row["salt"].removeprefix("\\x"))
        more[hashes[row["entry_id"]].removeprefix("\\x")] = partial(_hashed, salt, details)
    return more


def _sealed(ports: Ports, webhook_id: str, values: Values, tenant: Tenant) -> str:
    secret = signing_secrets.new_secret()
    return signing_secrets.sealed(ports.sealer, tenant.test_world, values[webhook_id], secret).hex()


def _sealed_again(ports: Ports, row: dict[str, Any], _: Values, tenant: Tenant) -> str:
    """The private key of an encrypted upload, for the other world."""
    sealed = bytes.fromhex(row["sealed_recipient_key"].removeprefix("\\x"))
    key = ports.sealer.open(sealed, recipient_context(row["world_id"], row["id"]))
    return ports.sealer.seal(key, recipient_context(tenant.test_world, row["id"])).hex()


class _UnauditedKeys(SigningKeys):
    """The copied rows tell already that the project's first key was made."""

    async def _record(self, connection: object, project_id: str, change: object, actor: object) -> None: ...


def _hashed(salt: bytes, details: str, values: Values, _: Tenant) -> str:
    return hash_of(salt, _replaced(values, details).encode()).hex()


async def _keep_objects(ports: Ports, project_id: str) -> dict[str, str]:
    kept: dict[str, str] = {}
    for prefix in PREFIXES:
        async for each in ports.store.list(f"{prefix}/{project_id}/"):
            copy = f"models/{each.key}"
            with suppress(ObjectMissing):  # what was staged, and is deleted soon after its completion
                await ports.store.copy(each.key, copy)
                kept[each.key] = copy
    return kept


def _replaced(values: Values, text: str) -> str:
    return _ID.sub(lambda found: values[found[0]], text)


def _by_time(name: str) -> str:
    return name.partition("_")[2]
