"""Creates, replaces and shows keys, for callers with a key and for the operator."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.foundation.core.errors import Conflict, InvalidRequest, NotFound
from lapel.foundation.database import audit
from lapel.foundation.identity.tokens import hint, new_token
from lapel.slices.end_users.service import lock_active_end_user
from lapel.slices.projects import queries
from lapel.slices.projects.grants import Grant
from lapel.slices.projects.key_queries import PREFIXES
from lapel.slices.projects.rows import WorldRow
from lapel.slices.projects.scopes import SCOPES
from lapel.slices.projects.wire import ApiKey, CreatedApiKey, RotatedApiKey

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from lapel.foundation.core.actors import Actor, Mode
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.projects.rows import KeyRow

    # Ends what a key made, in the transaction that revokes the key: (connection, world, key, caller).
    IssuedHook: TypeAlias = Callable[[Connection, WorldRow, str, Actor | None], Awaitable[None]]


def unknown() -> NotFound:
    """The error for a key that the caller may not see or that does not exist."""
    return NotFound("There is no key with this id.")


def checked(grant: Grant, now: datetime) -> Grant:
    """Check a grant. Returns it with all its scopes, in the order of `SCOPES`.

    Raises InvalidRequest when the grant has expired, or when kind, scopes and end user contradict each other.
    """
    if grant.expires_at is not None and grant.expires_at <= now:
        raise InvalidRequest("`expires_at` is in the past.", param="expires_at")
    if grant.kind == "restricted":
        if not grant.scopes:
            raise InvalidRequest(
                "Name the `scopes` of a restricted key, or set `kind` to `secret`.", param="scopes"
            )
        return dataclasses.replace(grant, scopes=[scope for scope in SCOPES if scope in grant.scopes])
    if grant.end_user_id is not None:
        raise InvalidRequest("Only a restricted key can be scoped to an end user.", param="end_user_id")
    if grant.scopes:
        raise InvalidRequest("A secret key has every scope; leave `scopes` out.", param="scopes")
    return dataclasses.replace(grant, scopes=SCOPES)


async def find_world(connection: Connection, project_id: str, mode: Mode) -> WorldRow:
    """A project's world. Raises NotFound when there is no such project."""
    world_id = await queries.find_world(connection, project_id, mode)
    if world_id is None:
        raise NotFound("There is no project with this id.", param="project_id")
    return WorldRow(world_id, project_id, mode)


async def issue(
    connection: Connection, ports: Ports, world: WorldRow, grant: Grant, by: Actor | None
) -> CreatedApiKey:
    """Create a key with a checked grant. `by`: the caller; None: the operator.

    Raises NotFound when the grant's end user is not active.
    """
    created = await _insert(connection, ports, world, grant)
    await _record(connection, ports, world, by, "key.created", created, None, _audited(created))
    return created


async def revoke(
    connection: Connection,
    ports: Ports,
    world: WorldRow,
    key_id: str,
    *,
    issued: Sequence[IssuedHook] | None,
    by: Actor | None,
) -> None:
    """Revoke a key. `issued`: end the tokens that it issued too, and what these hooks end; None: they stay.

    `by`: the caller; None: the operator.
    """
    now = ports.clock.now()
    # The deletion of the key's end user, who is named in the entry, waits for this lock.
    row = (await queries.lock_keys(connection, world.id, [key_id])).get(key_id)
    also = issued is not None
    if row is not None and await queries.revoke_key(connection, world.id, key_id, now, issued=also):
        before = {"revoked_at": timestamp_or_none(row.revoked_at)}
        after = {"revoked_at": timestamp(row.revoked_at or now), "issued_tokens_revoked": also}
        await _record(connection, ports, world, by, "key.revoked", row, before, after)
    for end_issued in issued or ():
        await end_issued(connection, world, key_id, by)


async def shorten(
    connection: Connection, ports: Ports, world: WorldRow, key_id: str, ends_at: datetime
) -> None:
    """Let a key end at this time. For the operator, after a restore that has lost the key's rotation."""
    row = (await queries.lock_keys(connection, world.id, [key_id])).get(key_id)
    if row is not None:
        await queries.shorten_key(connection, world.id, key_id, ends_at)
        before = {"expires_at": timestamp_or_none(row.expires_at)}
        after = {"expires_at": timestamp(ends_at)}
        await _record(connection, ports, world, None, "key.revoked", row, before, after)


async def _record(
    connection: Connection,
    ports: Ports,
    world: WorldRow,
    by: Actor | None,
    action: str,
    key: KeyRow | CreatedApiKey,
    before: object,
    after: object,
) -> None:
    change = audit.Change(action=action, resource_type="key", resource_id=key.id, before=before, after=after)
    now, about = ports.clock.now(), key.end_user_id
    await audit.record(connection, ports.ids, now, worlds=[world.id], actor=by, change=change, about=about)


def _audited(key: CreatedApiKey) -> dict[str, object]:
    """A key in the audit log: without the secret, and without the hint, which is a part of it."""
    return {
        "kind": key.kind,
        "name": key.name,
        "scopes": key.scopes,
        "end_user_id": key.end_user_id,
        "expires_at": key.expires_at,
    }


async def _insert(connection: Connection, ports: Ports, world: WorldRow, grant: Grant) -> CreatedApiKey:
    if grant.end_user_id is not None:
        await lock_active_end_user(connection, world.id, grant.end_user_id)
    key = new_token(PREFIXES[grant.kind, world.mode])
    row = await queries.insert_key(
        connection,
        world.id,
        ports.ids.new("key"),
        ports.hasher.hash(key),
        ports.hasher.secret_id,
        hint(key),
        grant,
        ports.clock.now(),
    )
    return CreatedApiKey(**msgspec.structs.asdict(api_key(row, world)), key=key)


async def lock_owner(connection: Connection, world: WorldRow, key_id: str) -> None:
    """Lock the end user of a key, if the key has one. Everywhere the end user is locked before the key.

    Raises NotFound when that end user is not active.
    """
    row = await queries.read_key(connection, world.id, key_id)
    if row is not None and row.end_user_id is not None:
        await lock_active_end_user(connection, world.id, row.end_user_id)


async def replace(
    connection: Connection,
    ports: Ports,
    world: WorldRow,
    old: KeyRow,
    overlap_seconds: int,
    by: Actor | None,
) -> RotatedApiKey:
    """Replace the key `old` by a new key with the same rights, and set the end of `old`.

    Before the call, the caller must call `lock_owner` and then lock `old`. `old` works for `overlap_seconds`
    more; 0 revokes it now. `by`: the caller; None: the operator.

    Raises Conflict when `old` has ended, or already has a successor that works.
    """
    now = ports.clock.now()
    if not works(old, now):
        raise Conflict("This key was revoked or has expired.", resource_id=old.id)
    expires_at = old.expires_at
    if old.rotated_to is not None:
        successor = await queries.read_key(connection, world.id, old.rotated_to)
        if successor is not None and works(successor, now):
            raise Conflict(
                "This key was rotated; `resource_id` is its successor. Revoke the successor first.",
                resource_id=old.rotated_to,
            )
        expires_at = None if successor is None else successor.expires_at
    grant = Grant(
        kind=old.kind,
        scopes=() if old.kind == "secret" else old.scopes,
        name=old.name,
        end_user_id=old.end_user_id,
        expires_at=expires_at,
    )
    created = await _insert(connection, ports, world, checked(grant, now))
    until = await queries.retire_key(
        connection,
        world.id,
        old.id,
        created.id,
        now + timedelta(seconds=overlap_seconds),
        None if overlap_seconds else now,
    )
    before = {"rotated_to": old.rotated_to, "expires_at": timestamp_or_none(old.expires_at)}
    after = {"rotated_to": created.id, "expires_at": timestamp(until), "successor": _audited(created)}
    await _record(connection, ports, world, by, "key.rotated", old, before, after)
    return RotatedApiKey(
        **msgspec.structs.asdict(created), replaced_id=old.id, replaced_works_until=timestamp(until)
    )


def works(row: KeyRow, now: datetime) -> bool:
    """Whether this key is neither revoked nor expired."""
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > now)


def api_key(row: KeyRow, world: WorldRow) -> ApiKey:
    """A key without its secret, as answers show it."""
    return ApiKey(
        id=row.id,
        project_id=world.project_id,
        mode=world.mode,
        kind=row.kind,
        name=row.name,
        hint=row.hint,
        scopes=list(SCOPES) if row.kind == "secret" else row.scopes,
        end_user_id=row.end_user_id,
        expires_at=timestamp_or_none(row.expires_at),
        last_used_at=timestamp_or_none(row.last_used_at),
        revoked_at=timestamp_or_none(row.revoked_at),
        rotated_to=row.rotated_to,
        created_at=timestamp(row.created_at),
    )
