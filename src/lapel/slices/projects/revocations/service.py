"""Writes the ends of keys into the bucket, and ends again the keys that a backup has brought back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from lapel.slices.projects import issuing, queries
from lapel.slices.projects.revocations import revocation_line_queries, revocation_lines
from lapel.slices.projects.rows import WorldRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.ports import Ports
    from lapel.slices.projects.issuing import IssuedHook
    from lapel.slices.projects.revocations.revocation_line_queries import KeyEndsRow
    from lapel.slices.projects.revocations.revocation_lines import RevocationLine

_BATCH = 100
# What a line meant for the database: a key that works again, one that has ended, or one that it lacks.
Outcome: TypeAlias = Literal["back", "known", "newer"]


class KeyRevocations:
    """The ledger of the ends of keys.

    Every method raises Unavailable while the database is unavailable.
    `on_revoke_issued`: the hooks of `Keys`, for what a key issued.
    """

    def __init__(self, ports: Ports, on_revoke_issued: Sequence[IssuedHook]) -> None:
        self._ports = ports
        self._on_revoke_issued = on_revoke_issued

    async def tell(self) -> None:
        """Write the ends that the bucket does not have. A repeat changes nothing. Raises StoreUnavailable."""
        while True:
            async with self._ports.database.acquire() as connection:
                rows = await revocation_line_queries.find_unwritten(connection, _BATCH)
            for row in rows:
                for line in revocation_lines.lines_of(row):
                    await revocation_lines.write(self._ports.store, line)
                async with self._ports.database.transaction() as connection:
                    await revocation_line_queries.mark_written(connection, row)
            if len(rows) < _BATCH:
                return

    async def tell_again(self) -> None:
        """Write the ends that the database knows, after a restore: perhaps another bucket than this has them.

        A repeat changes nothing. Raises StoreUnavailable.
        """
        async with self._ports.database.transaction() as connection:
            await revocation_line_queries.forget_written(connection)
        await self.tell()

    async def end_again(self, line: RevocationLine, *, dry_run: bool) -> Outcome:
        """End the key of a line, unless the database knows of the end. The operator is the author.

        The caller announces the keys that were `back`, all at once, because an announcement may take seconds.

        `newer`: the database has no such key, because the key is newer than the backup; its holder gets 401.
        """
        mode = "live" if line.mode == "live" else "test"
        async with self._ports.database.transaction() as connection:
            world_id = await queries.find_world(connection, line.project_id, mode)
            if world_id is None:
                return "newer"
            ends = await revocation_line_queries.lock_ends(connection, world_id, line.key_id)
            if ends is None:
                return "newer"
            if not _is_back(ends, line):
                return "known"
            if dry_run:
                return "back"
            world = WorldRow(world_id, line.project_id, mode)
            hooks = self._on_revoke_issued if line.end == "issued-revoked" else None
            if line.end == "retired" and line.at > self._ports.clock.now():
                await issuing.shorten(connection, self._ports, world, line.key_id, line.at)
            else:
                await issuing.revoke(connection, self._ports, world, line.key_id, issued=hooks, by=None)
            return "back"


def _is_back(ends: KeyEndsRow, line: RevocationLine) -> bool:
    """Whether the database does not know of the end that the line tells of."""
    match line.end:
        case "revoked":
            return ends.revoked_at is None
        case "issued-revoked":
            return ends.issued_revoked_at is None
        case "retired":
            is_later = ends.expires_at is None or ends.expires_at > line.at
            return ends.revoked_at is None and is_later
