"""Compares the chain of a world with checkpoints that were kept outside of the database, as in workers' logs.

A person who can change every table of the log could remove its end with the checkpoints over it, or let the
server chain and sign a changed log anew. A copy of a checkpoint shows both.
"""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from lapel.foundation.core.clock import timestamp
from lapel.slices.audit.chain import chain_queries
from lapel.slices.audit.chain.checkpoints import signed_claims, unsigned_claims

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lapel.foundation.core.actors import Mode
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.signing import Signer

# A JWT in a line of text: each part is base64url, and the first two are JSON objects.
_TOKEN = re.compile(r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+", re.ASCII)


class KeptCheckpoint(NamedTuple):
    """What a checkpoint signed: the hash of the chain at a number, at a time in Unix seconds."""

    number: int
    hash: str
    signed_at: int


class KeptCheckpoints:
    """The checkpoints in some text, by project and mode. In memory are three values for each of them."""

    def __init__(self, signer: Signer, lines: Iterable[str]) -> None:
        """`lines`: of a log, or anything else that contains the tokens of checkpoints."""
        self._of_worlds: dict[tuple[str, Mode], set[KeptCheckpoint]] = defaultdict(set)
        self.unsigned = 0
        """The number of checkpoints that no key of this server signed. They are not compared."""
        for line in lines:
            for token in _TOKEN.findall(line):
                claims = signed_claims(signer, token)
                if claims is None:
                    self.unsigned += unsigned_claims(token) is not None
                    continue
                kept = KeptCheckpoint(claims.number, claims.hash, claims.iat)
                self._of_worlds[claims.project, claims.world].add(kept)

    @property
    def worlds(self) -> set[tuple[str, Mode]]:
        """Project and mode of the worlds that have a checkpoint here."""
        return set(self._of_worlds)

    async def contradiction(
        self, connection: Connection, world_id: int, project_id: str, mode: Mode
    ) -> tuple[KeptCheckpoint, str] | None:
        """The first checkpoint that the chain of a world contradicts, and a sentence about it; None: none."""
        for kept in sorted(self._of_worlds.get((project_id, mode), ())):
            found = await chain_queries.read_hash(connection, world_id, kept.number)
            if found is None or found.hex() != kept.hash:
                return kept, await _sentence(connection, world_id, kept, missing=found is None)
        return None


async def _sentence(connection: Connection, world_id: int, kept: KeptCheckpoint, *, missing: bool) -> str:
    signed_at = datetime.fromtimestamp(kept.signed_at, UTC)
    what = "the log ends before it" if missing else "the log up to this entry is another one"
    told = f"a given checkpoint, signed at {timestamp(signed_at)}, covers entry {kept.number}, but {what}"
    restore = await chain_queries.find_restore(connection, world_id, signed_at)
    if restore is None:
        return f"{told}: entries were removed or replaced after they had been signed"
    return (
        f"{told}: the log says that it was restored at {timestamp(restore.created_at)} from a backup of "
        f"{restore.backup_created_at}, so what came between is lost. If you made that restore, give only "
        "checkpoints that were signed after it; if nobody made it, the log was tampered with"
    )
