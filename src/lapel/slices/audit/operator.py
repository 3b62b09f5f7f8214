"""The operator's functions for the audit log, on any project."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from lapel.foundation.core.clock import timestamp
from lapel.foundation.core.errors import NotFound
from lapel.foundation.database import audit
from lapel.slices.audit.chain import chain_queries
from lapel.slices.audit.chain.chaining import AuditChains
from lapel.slices.audit.chain.verification import verify_chain
from lapel.slices.audit.service import AuditLog
from lapel.slices.projects.service import list_worlds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from lapel.foundation.core.actors import Mode
    from lapel.foundation.ports import Ports
    from lapel.slices.audit.chain.kept_checkpoints import KeptCheckpoints
    from lapel.slices.audit.chain.verification import ChainReport
    from lapel.slices.projects.service import WorldRow


class Restore(NamedTuple):
    """A restore, and when its backup was begun."""

    backup_created_at: datetime
    restored_at: datetime


class OperatorAudit:
    """Operations on the logs of all worlds, or of the worlds of one project.

    Every method raises NotFound for an unknown project, and Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports, project_id: str | None = None) -> None:
        """`project_id`: None for all projects."""
        self._ports = ports
        self._project_id = project_id

    async def verify(
        self, progress: Callable[[WorldRow, int], None], kept: KeptCheckpoints | None = None
    ) -> AsyncIterator[ChainReport]:
        """Chain what is not chained yet, and verify world after world.

        `progress` gets a world and the number of its verified entries, from time to time. `kept`: checkpoints
        from elsewhere, with which the chains are compared.
        """
        chains = AuditChains(self._ports)
        for world in await self._worlds():
            await chains.chain(world.id)
            tell = partial(progress, world)
            yield await verify_chain(self._ports, world.id, tell, kept)

    async def export(
        self, mode: Mode, since: datetime | None, until: datetime | None
    ) -> AsyncGenerator[bytes]:
        """The entries of the worlds of one mode as NDJSON, world after world, many lines at a time."""
        log = AuditLog(self._ports)
        for world in await self._worlds():
            if world.mode == mode:
                async for piece in log.lines(world.id, world.project_id, since, until):
                    yield piece

    async def record_restore(self, backup_created_at: datetime) -> None:
        """Write into each log that it was restored from a backup of this time. The entry continues the chain
        of the backup, and tells why the log has no changes between that time and the restore."""
        now, after = self._ports.clock.now(), {"backup_created_at": timestamp(backup_created_at)}
        async with self._ports.database.transaction() as connection:
            for world in await list_worlds(connection, self._project_id):
                change = audit.Change(
                    action="project.restored",
                    resource_type="project",
                    resource_id=world.project_id,
                    after=after,
                )
                await audit.record(
                    connection, self._ports.ids, now, worlds=[world.id], actor=None, change=change, about=None
                )

    async def last_restore(self) -> Restore | None:
        """The newest restore of the database; None if it was never restored, or has no project."""
        oldest = min(await self._worlds(), key=lambda world: world.id, default=None)
        if oldest is None:  # a restore writes its entry into each world that there is
            return None
        async with self._ports.database.acquire() as connection:
            row = await chain_queries.find_last_restore(connection, oldest.id)
        return None if row is None else Restore(datetime.fromisoformat(row.backup_created_at), row.created_at)

    async def _worlds(self) -> list[WorldRow]:
        async with self._ports.database.acquire() as connection:
            worlds = await list_worlds(connection, self._project_id)
        if self._project_id is not None and not worlds:
            raise NotFound("There is no project with this id.", param="project_id")
        return worlds
