"""The rules of projects and keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec

from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.foundation.core.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unauthorized
from lapel.foundation.database import audit
from lapel.foundation.http.calls import Reply
from lapel.foundation.http.input.pagination import page, window
from lapel.slices.end_users.service import Issuer
from lapel.slices.projects import issuing, queries
from lapel.slices.projects.grants import Grant
from lapel.slices.projects.queries import (
    LIST_ORGANIZATIONS,
    LOCK_ORGANIZATION_ROW,
    WORLDS_IN_PROJECTS,
    find_world,
    list_worlds,
    lock_world,
    project_of,
)
from lapel.slices.projects.rows import WorldRow
from lapel.slices.projects.wire import ApiKeyPage, Project, TokenFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageQuery
    from lapel.foundation.ports import Ports
    from lapel.slices.projects.issuing import IssuedHook
    from lapel.slices.projects.rows import KeyRow
    from lapel.slices.projects.scopes import Scope
    from lapel.slices.projects.wire import CreateApiKey, CreatedApiKey, Kind, RotateApiKey, RotatedApiKey

__all__ = [
    "LIST_ORGANIZATIONS",
    "LOCK_ORGANIZATION_ROW",
    "WORLDS_IN_PROJECTS",
    "Keys",
    "Projects",
    "WorldRow",
    "create_project",
    "find_world",
    "list_worlds",
    "lock_working_key",
    "lock_world",
    "project_of",
]

_DEFAULT_ORGANIZATION = "Default"
_NAME_CHARACTERS = 200
_Created = TypeVar("_Created", bound="CreatedApiKey")


class Projects:
    """The operator's functions for projects.

    Every method raises Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def create(self, name: str, organization_id: str | None = None) -> Project:
        """Create a project with two worlds. Without `organization_id`, the oldest organization owns it.

        Raises InvalidRequest for a name that does not have 1 to 200 characters, and NotFound for an unknown
        organization.
        """
        async with self._ports.database.transaction() as connection:
            await queries.lock_tenancy(connection)
            return await create_project(connection, self._ports, name, organization_id)

    async def list(self) -> list[Project]:
        """All projects, oldest first."""
        async with self._ports.database.acquire() as connection:
            rows = await queries.list_projects(connection)
        return [
            Project(
                id=row.id,
                organization_id=row.organization_id,
                name=row.name,
                created_at=timestamp(row.created_at),
            )
            for row in rows
        ]

    async def named(self, project_id: str | None) -> str:
        """`project_id`; if it is None, the id of the only project. Does not check that a named one exists.

        Raises NotFound when there is no project, and Conflict when none is named and there are several. Uses
        a connection of its own, so a caller that is in a transaction calls this before.
        """
        if project_id:
            return project_id
        projects = await self.list()
        if not projects:
            raise NotFound("There is no project yet; `lapel init` makes one.")
        if len(projects) > 1:
            listed = ", ".join(f"{project.id} ({project.name})" for project in projects)
            raise Conflict(f"Name the project (--project), there are several: {listed}.")
        return projects[0].id


async def create_project(
    connection: Connection, ports: Ports, name: str, organization_id: str | None = None
) -> Project:
    """`Projects.create` for a caller that holds `queries.lock_tenancy`.

    Raises InvalidRequest for a name that does not have 1 to 200 characters, and NotFound for an unknown
    organization.
    """
    if not 1 <= len(name) <= _NAME_CHARACTERS or "\0" in name:
        raise InvalidRequest(f"A project's name has 1 to {_NAME_CHARACTERS} characters.", param="name")
    now = ports.clock.now()
    if organization_id is None:
        organization_id = await queries.first_organization(connection)
        if organization_id is None:
            organization_id = ports.ids.new("org")
            await queries.insert_organization(connection, organization_id, _DEFAULT_ORGANIZATION, now)
    elif not await queries.organization_exists(connection, organization_id):
        raise NotFound("There is no organization with this id.", param="organization_id")
    project_id = ports.ids.new("proj")
    worlds = await queries.insert_project(connection, project_id, organization_id, name, now)
    made = audit.happened("project.created", project_id)
    await audit.record(connection, ports.ids, now, worlds=worlds, actor=None, change=made, about=None)
    return Project(id=project_id, organization_id=organization_id, name=name, created_at=timestamp(now))


class Keys(Issuer):
    """The operations on keys for callers whose own key has `keys:write` or `end_user_keys:write`.

    A caller reaches the keys of its world. If the caller is scoped to an end user, it reaches only that end
    user's keys. Without `keys:write`, it reaches only keys that are scoped to an end user, so not even its
    own key. A caller manages only keys whose rights do not exceed its own rights, and creates only keys
    that do not outlive its own key.

    Every method with an `actor`, except `list`, raises Unauthorized when the caller's key was revoked or has
    expired meanwhile. Methods that open a connection raise Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self.on_revoke_issued: list[IssuedHook] = []

    async def create(self, connection: Connection, actor: Actor, body: CreateApiKey) -> CreatedApiKey:
        """Create a key.

        Raises InvalidRequest for a grant that contradicts itself or has expired, Forbidden when the new key
        would exceed the caller's rights or outlive the caller's key, and NotFound when the end user does not
        exist or the caller may not see the end user.
        """
        if actor.scoped_to is not None and body.end_user_id not in (None, actor.scoped_to):
            raise NotFound("There is no end user with this `end_user_id`.", param="end_user_id")
        now = self._ports.clock.now()
        # The row of the caller's key is locked, so a revocation of that key waits for this transaction. So a
        # list that is made after the revocation shows the new key.
        caller = (await queries.lock_keys(connection, actor.world_id, [actor.id])).get(actor.id)
        caller = _still_working(caller, now)
        grant = issuing.checked(
            Grant(
                kind=body.kind,
                scopes=body.scopes or (),
                name=body.name,
                end_user_id=body.end_user_id or actor.scoped_to,
                expires_at=body.expires_at or caller.expires_at,
            ),
            now,
        )
        _may_handle(actor, caller, grant.kind, grant.scopes)
        if not _reaches(actor, grant.end_user_id):
            raise _only_of_end_users()
        _may_outlive(caller, grant.expires_at)
        return await issuing.issue(connection, self._ports, _world_of(actor), grant, actor)

    async def list(self, actor: Actor, query: PageQuery) -> ApiKeyPage:
        """One page, newest first, which includes ended keys. Raises InvalidRequest for a bad cursor."""
        asked, world = window(query, "api_keys"), _world_of(actor)
        async with self._ports.database.acquire() as connection:
            if actor.scoped_to is None and not _reaches(actor, None):
                rows = await queries.list_keys_of_end_users(connection, world.id, asked)
            else:
                rows = await queries.list_keys(connection, world.id, asked, actor.scoped_to)
        data, has_more, next_cursor = page(rows, asked, lambda row: issuing.api_key(row, world))
        return ApiKeyPage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def describe(self, actor: Actor) -> TokenFacts:
        """The caller's own token. Raises Unauthorized when the caller's key has ended meanwhile."""
        if actor.kind == "key":
            async with self._ports.database.acquire() as connection:
                row = await queries.read_key(connection, actor.world_id, actor.id)
            key = issuing.api_key(_still_working(row, self._ports.clock.now()), _world_of(actor))
            return TokenFacts(
                kind=key.kind,
                id=key.id,
                name=key.name,
                project_id=key.project_id,
                mode=key.mode,
                scopes=key.scopes,
                end_user_id=key.end_user_id,
                expires_at=key.expires_at,
            )
        return TokenFacts(
            kind=actor.kind,
            project_id=actor.project_id,
            mode=actor.mode,
            end_user_id=actor.end_user_id,
            device_id=actor.id if actor.kind == "device" else None,
            recording_id=actor.id if actor.kind == "upload" else None,
            expires_at=timestamp_or_none(actor.expires_at),
        )

    async def revoke(self, actor: Actor, key_id: str, *, issued: bool = False) -> None:
        """Revoke a key in every process. `issued`: revoke the tokens that the key issued too, and
        disable the webhooks that it made.

        Raises NotFound when the caller may not see the key, and Forbidden when the key's rights exceed the
        caller's rights.
        """
        now = self._ports.clock.now()
        async with self._ports.database.transaction() as connection:
            caller, target = await self._caller_and(connection, actor, key_id, now)
            _may_handle(actor, caller, target.kind, target.scopes)
            hooks = self.on_revoke_issued if issued else None
            await issuing.revoke(connection, self._ports, _world_of(actor), key_id, issued=hooks, by=actor)
        # A key that was revoked before is announced too, because the earlier request may have died before its
        # announcement.
        await self._ports.revocations.announce([key_id])

    async def rotate(
        self, connection: Connection, actor: Actor, key_id: str, body: RotateApiKey
    ) -> Reply[RotatedApiKey]:
        """Replace a key by a new key.

        Raises NotFound when the caller may not see the key; Forbidden when the key's rights exceed the
        caller's rights, or when the new key would outlive the caller's key; Conflict when the key has ended
        or has a successor that works.
        """
        now = self._ports.clock.now()
        world = _world_of(actor)
        await issuing.lock_owner(connection, world, key_id)
        caller, target = await self._caller_and(connection, actor, key_id, now)
        _may_handle(actor, caller, target.kind, target.scopes)
        rotated = await issuing.replace(connection, self._ports, world, target, body.overlap_seconds, actor)
        # If the target's successor has ended, the new key gets the end that the successor had.
        if target.id != caller.id:
            _may_outlive(caller, _moment(rotated.expires_at))
        announce = partial(self._ports.revocations.announce, [key_id])
        return Reply(rotated, committed=announce)

    async def replayed(self, actor: Actor, created: _Created, *, of_caller: bool = False) -> _Created:
        """The stored answer of `create` or `rotate`, for a repeat that may come with another key.

        `of_caller`: the created key replaced the caller's own key. Raises Forbidden when the key of the
        repeat could not have created that key.
        """
        async with self._ports.database.acquire() as connection:
            row = await queries.read_key(connection, actor.world_id, actor.id)
        caller = _still_working(row, self._ports.clock.now())
        _may_handle(actor, caller, created.kind, created.scopes)
        if not _reaches(actor, created.end_user_id):
            raise _only_of_end_users()
        if not of_caller:
            _may_outlive(caller, _moment(created.expires_at))
        return created

    async def end_of_issued(
        self, connection: Connection, actor: Actor, wanted: datetime | msgspec.UnsetType | None
    ) -> datetime | None:
        """The end of an end-user token that the caller's key issues: `wanted`; None: never.

        If `wanted` is unset, the end is that of the settings, but no later than the key's. Raises
        InvalidRequest when `wanted` is in the past, and Forbidden when `wanted` is after the key's end.
        """
        now = self._ports.clock.now()
        rows = await queries.lock_keys(connection, actor.world_id, [actor.id])
        caller = _still_working(rows.get(actor.id), now)
        if wanted is msgspec.UNSET:
            days = self._ports.settings.end_user_token_days
            ends = [
                each for each in (now + timedelta(days=days) if days else None, caller.expires_at) if each
            ]
            return min(ends, default=None)
        if wanted is not None and wanted <= now:
            raise InvalidRequest("`expires_at` is in the past.", param="expires_at")
        _may_outlive(caller, wanted)
        return wanted

    async def check_reissue(self, actor: Actor, expires_at: str | None) -> None:
        """Raises Forbidden when the caller's key could not issue a token that expires at `expires_at`."""
        async with self._ports.database.acquire() as connection:
            row = await queries.read_key(connection, actor.world_id, actor.id)
        _may_outlive(_still_working(row, self._ports.clock.now()), _moment(expires_at))

    async def revoke_all_of(
        self, connection: Connection, world_id: int, end_user_id: str, now: datetime
    ) -> list[str]:
        """Revoke the keys of an end user that is being deleted. Returns the ids to announce."""
        return await queries.revoke_keys_of_end_user(connection, world_id, end_user_id, now)

    async def _caller_and(
        self, connection: Connection, actor: Actor, key_id: str, now: datetime
    ) -> tuple[KeyRow, KeyRow]:
        """The locked rows of the caller's key and of `key_id`.

        Raises Unauthorized when the caller's key has ended, and NotFound when the caller may not see
        `key_id`.
        """
        rows = await queries.lock_keys(connection, actor.world_id, [actor.id, key_id])
        caller = _still_working(rows.get(actor.id), now)
        target = rows.get(key_id)
        if target is None or not _reaches(actor, target.end_user_id):
            raise issuing.unknown()
        return caller, target


async def lock_working_key(connection: Connection, actor: Actor, now: datetime) -> None:
    """Keep the caller's key from being revoked until the transaction ends, which stores what the key makes.

    Raises Unauthorized when the key has ended after the authentication.
    """
    rows = await queries.lock_keys(connection, actor.world_id, [actor.id])
    _still_working(rows.get(actor.id), now)


def _world_of(actor: Actor) -> WorldRow:
    return WorldRow(actor.world_id, actor.project_id, actor.mode)


def _still_working(caller: KeyRow | None, now: datetime) -> KeyRow:
    """The row of the caller's key. Raises Unauthorized when the key has ended after the authentication."""
    if caller is None or not issuing.works(caller, now):
        raise Unauthorized("This key is unknown, revoked or expired.")
    return caller


def _reaches(actor: Actor, end_user_id: str | None) -> bool:
    """Whether the caller manages keys of this end user; None: keys that are scoped to no end user."""
    if actor.scoped_to is not None:
        return end_user_id == actor.scoped_to
    return end_user_id is not None or "keys:write" in actor.scopes


def _only_of_end_users() -> Forbidden:
    return Forbidden(
        "A key with `end_user_keys:write` makes only keys that are scoped to an end user: name the "
        "`end_user_id`, or use a key with `keys:write`."
    )


def _may_handle(actor: Actor, caller: KeyRow, kind: Kind, scopes: Sequence[Scope]) -> None:
    """Raises Forbidden for a key whose rights exceed the caller's."""
    if kind == "secret" and caller.kind != "secret":
        raise Forbidden("Only a secret key may manage secret keys.")
    missing = [scope for scope in scopes if scope not in actor.scopes]
    if missing:
        raise Forbidden(f"Your key lacks scopes of the other key: {', '.join(missing)}.")


def _may_outlive(caller: KeyRow, expires_at: datetime | None) -> None:
    """Raises Forbidden for a key or token that would work longer than the caller's key."""
    limit = caller.expires_at
    if limit is not None and (expires_at is None or expires_at > limit):
        raise Forbidden(
            f"Your key ends at {timestamp(limit)}, before the new one: set `expires_at` to that time or "
            "earlier, or use a key that lasts longer."
        )


def _moment(written: str | None) -> datetime | None:
    return None if written is None else datetime.fromisoformat(written)
