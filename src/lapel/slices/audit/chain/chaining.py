"""Adds entries to the chains, after their commit.

Writers do not wait for each other: an entry is written without a link, and a worker chains it within a
minute. An entry that commits late gets a later place; if its end user was deleted meanwhile, its details are
erased here. If the worker dies, its transaction is rolled back, and the entries are still in the queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database import audit
from lapel.slices.audit.chain import chain_queries
from lapel.slices.audit.chain.checkpoints import EVERY, EVERY_ENTRIES, make_checkpoint
from lapel.slices.audit.chain.entry_hash import BEGINNING, next_hash

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.audit.chain.chain_queries import CheckpointRow

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class AuditChains:
    """Chains the entries of all worlds.

    Every method raises Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def run(self) -> None:
        """Chain the entries of every world, and make the checkpoints that are due."""
        async with self._ports.database.acquire() as connection:
            worlds = await audit.queued_worlds(connection)
        for world_id in worlds:
            await self._try(world_id)
        old = self._ports.clock.now() - EVERY
        async with self._ports.database.acquire() as connection:
            due = await chain_queries.find_due_checkpoints(connection, old, self._ports.signer.head)
        for world_id in due:
            await self._try(world_id)

    async def _try(self, world_id: int) -> None:
        """Chain the entries of a world. A world that fails is left for the next run, and stops no other."""
        try:
            await self.chain(world_id)
        except Unavailable:
            raise
        except asyncpg.LockNotAvailableError:
            _log.warning("audit.chain_locked", world=world_id)
        except Exception as error:  # noqa: BLE001 - a world that fails must not stop the others
            _log.error("audit.chain_stuck", world=world_id, exc_info=error, run="lapel audit verify")

    async def chain(self, world_id: int) -> int:
        """Chain the entries of a world that are committed now, in batches. Returns their number.

        Raises asyncpg.LockNotAvailableError when another worker holds the chain for ten seconds.
        """
        total = 0
        while True:
            async with self._ports.database.transaction() as connection:
                await chain_queries.lock_chain(connection, world_id)
                taken = await audit.take_queued(connection, world_id, EVERY_ENTRIES)
                await self._append(connection, world_id, taken)
                crash_point("audit-chain:appended")
                signer, now = self._ports.signer, self._ports.clock.now()
                made = await make_checkpoint(connection, signer, world_id, now)
                crash_point("audit-chain:before-commit")
            crash_point("audit-chain:committed")
            if made is not None:
                _tell(world_id, made)
            total += len(taken)
            if len(taken) < EVERY_ENTRIES:
                return total

    async def _append(self, connection: Connection, world_id: int, taken: list[str]) -> None:
        if not taken:
            return
        await chain_queries.erase_late_details(connection, world_id, taken)
        entries = await chain_queries.read_entries(connection, world_id, taken)
        tip = await chain_queries.read_tip(connection, world_id)
        number, previous = (0, BEGINNING) if tip is None else (tip.number, tip.hash)
        hashes: list[bytes] = []
        for entry in entries:
            previous = next_hash(previous, entry)
            hashes.append(previous)
        numbers = range(number + 1, number + 1 + len(entries))
        await chain_queries.append(
            connection, world_id, list(numbers), [entry.id for entry in entries], hashes
        )


def _tell(world_id: int, made: CheckpointRow) -> None:
    """Log a checkpoint: where logs are kept elsewhere, the chain is bound to them too."""
    _log.info("audit.checkpoint", world=world_id, number=made.number, token=made.token)
