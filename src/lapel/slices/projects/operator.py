"""The operator's functions for keys: they work on any project, and need no calling key.

The command line uses them, while the server runs or is stopped. The first start makes the first key with
them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict, InvalidRequest, NotFound
from lapel.foundation.http.input.decoding import body_of
from lapel.foundation.http.input.pagination import PageQuery, window
from lapel.slices.projects import issuing, queries
from lapel.slices.projects.grants import Grant
from lapel.slices.projects.scopes import SCOPES
from lapel.slices.projects.service import create_project
from lapel.slices.projects.wire import DAY_SECONDS, CreateApiKey, RotateApiKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    from lapel.foundation.core.actors import Mode
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.projects.issuing import IssuedHook
    from lapel.slices.projects.rows import WorldRow
    from lapel.slices.projects.wire import ApiKey, CreatedApiKey, RotatedApiKey

DEFAULT_PROJECT = "Default"
FIRST_KEY_NAME = "first key"
_PAGE = PageQuery(limit=100)


class OperatorKeys:
    """Operations on every key of the installation. All of them raise Unavailable while the database fails."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def create(
        self,
        *,
        mode: Mode,
        project_id: str | None = None,
        scopes: Sequence[str] | None = None,
        end_user_id: str | None = None,
        expires_at: datetime | None = None,
        name: str | None = None,
    ) -> CreatedApiKey:
        """Create a key: restricted when it has `scopes` or an end user, otherwise secret.

        Without a `project_id`, the key is for the only project, which is created when there is none. Raises
        InvalidRequest for an unknown scope and for every grant that the API refuses, NotFound when the
        project or the end user does not exist, and Conflict when no project is named and there are several
        projects.
        """
        strange = [scope for scope in scopes or () if scope not in SCOPES]
        if strange:
            raise InvalidRequest(
                f"There is no scope {strange[0]!r}. The scopes are: {', '.join(SCOPES)}.", param="scopes"
            )
        kind = "restricted" if scopes or end_user_id is not None else "secret"
        values = {"kind": kind, "scopes": list(scopes) if scopes else None, "name": name}
        body = body_of(CreateApiKey, {**values, "end_user_id": end_user_id, "expires_at": expires_at})
        grant = Grant(
            kind=body.kind, scopes=body.scopes or (), name=body.name,
            end_user_id=body.end_user_id, expires_at=body.expires_at,
        )  # fmt: skip
        grant = issuing.checked(grant, self._ports.clock.now())
        async with self._ports.database.transaction() as connection:
            project_id = project_id or await self._only_project(connection)
            world = await issuing.find_world(connection, project_id, mode)
            return await issuing.issue(connection, self._ports, world, grant, None)

    async def list(self, project_id: str | None = None) -> AsyncIterator[ApiKey]:
        """The keys of one project, or of all projects: world by world, and newest first in each world.

        Raises NotFound when there is no such project.
        """
        async with self._ports.database.acquire() as connection:
            worlds = await queries.list_worlds(connection, project_id)
        if project_id is not None and not worlds:
            raise NotFound("There is no project with this id.", param="project_id")
        for world in worlds:
            asked = window(_PAGE, "api_keys")
            while True:
                async with self._ports.database.acquire() as connection:
                    rows = await queries.list_keys(connection, world.id, asked, None)
                for key in rows[: asked.limit]:
                    yield issuing.api_key(key, world)
                if len(rows) <= asked.limit:
                    break
                last = rows[asked.limit - 1]
                asked = replace(asked, before_time=last.created_at, before_id=last.id)

    async def count_working(self) -> int:
        """The number of keys of the installation that work now."""
        async with self._ports.database.acquire() as connection:
            return await queries.count_working(connection, self._ports.clock.now())

    async def revoke(self, key_id: str, *, issued: Sequence[IssuedHook] | None = None) -> None:
        """Revoke a key in every process.

        `issued`: revoke the tokens that the key issued too, and end what these hooks end, which are
        `Keys.on_revoke_issued`; None: all of it stays. Raises NotFound when there is no such key.
        """
        async with self._ports.database.transaction() as connection:
            world = await self._world_of(connection, key_id)
            await issuing.revoke(connection, self._ports, world, key_id, issued=issued, by=None)
        await self._ports.revocations.announce([key_id])

    async def rotate(self, key_id: str, overlap_seconds: int = DAY_SECONDS) -> RotatedApiKey:
        """Replace a key by a new key. The old key works for `overlap_seconds` more.

        Raises InvalidRequest when the overlap is out of range, NotFound when there is no such key, and
        Conflict when the key has ended or has a successor that works.
        """
        body = body_of(RotateApiKey, {"overlap_seconds": overlap_seconds})
        async with self._ports.database.transaction() as connection:
            world = await self._world_of(connection, key_id)
            await issuing.lock_owner(connection, world, key_id)
            row = (await queries.lock_keys(connection, world.id, [key_id]))[key_id]
            rotated = await issuing.replace(connection, self._ports, world, row, body.overlap_seconds, None)
        await self._ports.revocations.announce([key_id])
        return rotated

    async def _only_project(self, connection: Connection) -> str:
        await queries.lock_tenancy(connection)
        projects = await queries.list_projects(connection)
        if len(projects) > 1:
            listed = ", ".join(f"{row.id} ({row.name})" for row in projects)
            raise Conflict(f"There are several projects; name one with --project: {listed}.")
        if projects:
            return projects[0].id
        return (await create_project(connection, self._ports, DEFAULT_PROJECT)).id

    async def _world_of(self, connection: Connection, key_id: str) -> WorldRow:
        row = await queries.find_key_of_any_world(connection, key_id)
        if row is None:
            raise issuing.unknown()
        return row


async def ensure_first_key(ports: Ports) -> CreatedApiKey | None:
    """If no key was ever created, create a secret key for the test world of the oldest project. Else None.

    The caller must show the key, because only its hash is stored. If several processes start at once, one of
    them gets the key. If that process is killed before it shows the key, `lapel keys create` creates another
    key. Raises Unavailable while the database is unavailable.
    """
    async with ports.database.transaction() as connection:
        await queries.lock_tenancy(connection)
        if await queries.any_key(connection):
            return None
        projects = await queries.list_projects(connection)
        project_id = projects[0].id if projects else None
        if project_id is None:
            project_id = (await create_project(connection, ports, DEFAULT_PROJECT)).id
        world = await issuing.find_world(connection, project_id, "test")
        grant = Grant(kind="secret", scopes=(), name=FIRST_KEY_NAME, end_user_id=None, expires_at=None)
        grant = issuing.checked(grant, ports.clock.now())
        return await issuing.issue(connection, ports, world, grant, None)
