"""The first start: creating a project and a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.slices.projects import issuing, queries
from lapel.slices.projects.grants import Grant
from lapel.slices.projects.operator import DEFAULT_PROJECT
from lapel.slices.projects.service import create_project

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.projects.wire import CreatedApiKey

FIRST_KEY_NAME = "first key"


async def ensure_first_key(ports: Ports) -> CreatedApiKey | None:
    """A secret key of the test world of the oldest project, when no key was ever created; else None.

    The caller must show the key, because only its hash is stored. If several processes start at once, one of
    them gets the key. If that process is killed before it shows the key, `lapel keys create` creates another.
    Raises Unavailable while the database is unavailable.
    """
    async with ports.database.transaction() as connection:
        await queries.lock_tenancy(connection)
        if await queries.any_key(connection):
            return None
        projects = await queries.list_projects(connection)
        project_id = projects[0]["id"] if projects else None
        if project_id is None:
            project_id = (await create_project(connection, ports, DEFAULT_PROJECT)).id
        world = await issuing.find_world(connection, project_id, "test")
        grant = Grant(kind="secret", scopes=(), name=FIRST_KEY_NAME, end_user_id=None, expires_at=None)
        return await issuing.issue(connection, ports, world, issuing.checked(grant, ports.clock.now()))
