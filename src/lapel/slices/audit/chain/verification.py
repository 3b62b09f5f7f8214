"""Reads a whole chain again, and names the first place that is not as it was written.

Memory is constant: links are read in batches, and so are the checkpoints that lie within a batch.
"""

from __future__ import annotations

from collections import deque
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from lapel.foundation.core.actors import Mode
from lapel.foundation.database.audit import hash_of
from lapel.slices.audit.chain import chain_queries
from lapel.slices.audit.chain.chain_queries import ChainedEntry, LinkRow
from lapel.slices.audit.chain.checkpoints import (
    EVERY_ENTRIES,
    signed_claims,
    token_hash,
    unsigned_claims,
)
from lapel.slices.audit.chain.entry_hash import BEGINNING, next_hash

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from lapel.foundation.identity.signing import Signer
    from lapel.foundation.ports import Ports
    from lapel.slices.audit.chain.chain_queries import CheckpointRow, NamedWorldRow
    from lapel.slices.audit.chain.kept_checkpoints import KeptCheckpoints

_BATCH = 1000
# Between two checkpoints are fewer entries than this: a checkpoint is due after 1,000, and a batch has 1,000.
_MOST_BETWEEN = 2 * EVERY_ENTRIES

FaultKind: TypeAlias = Literal["changed", "missing", "inserted", "details", "checkpoint", "rewritten"]


class BrokenLink(msgspec.Struct, frozen=True, kw_only=True):
    """The first place that is not as it was written.

    `kind`: the entry or its hash was `changed`; an entry, link or checkpoint is `missing`; an entry was
    `inserted` past the server; the `details` of an entry were changed; a `checkpoint` says otherwise or was
    not signed by the server; the log was `rewritten`, because a checkpoint that was kept elsewhere says
    otherwise. `number` and `entry_id` are null where there is none.
    """

    kind: FaultKind
    number: int | None
    entry_id: str | None
    message: str


class ChainReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in the chain of one world. `entries` is the number of good links up to the first broken
    one, `erased` how many of their details were erased, `signed` the number that the last checkpoint covers.
    """

    project_id: str
    mode: Mode
    entries: int
    erased: int
    checkpoints: int
    signed: int
    broken: BrokenLink | None


class _BrokenError(Exception):
    def __init__(self, kind: FaultKind, number: int | None, entry_id: str | None, message: str) -> None:
        super().__init__(message)
        self.link = BrokenLink(kind=kind, number=number, entry_id=entry_id, message=message)


@dataclass(slots=True)
class _Walk:
    """How far a chain is verified."""

    number: int = 0
    hash: bytes = BEGINNING
    erased: int = 0
    # Of the last checkpoint: its position, number and token.
    position: int = 0
    signed: int = 0
    token: str | None = None
    # The number of the first checkpoint that no known key signed, while no signed one has followed it.
    unsigned: int | None = None


async def verify_chain(
    ports: Ports,
    world_id: int,
    progress: Callable[[int], None] = lambda _: None,
    kept: KeptCheckpoints | None = None,
) -> ChainReport:
    """Verify the log of a world up to its newest link. `progress` gets the number of verified entries.

    `kept`: checkpoints from elsewhere, with which the chain is compared too. Raises Unavailable while the
    database is unavailable.
    """
    walk = _Walk()
    async with ports.database.acquire() as connection:
        name = await chain_queries.read_name(connection, world_id)
    try:
        while await _batch(ports, world_id, name, walk):
            progress(walk.number)
        await _end(ports, world_id, walk)
        if kept is not None:
            await _compare(ports, world_id, name, kept)
        broken = None
    except _BrokenError as fault:
        broken = fault.link
    return ChainReport(
        project_id=name.project_id,
        mode=name.mode,
        entries=walk.number,
        erased=walk.erased,
        checkpoints=walk.position,
        signed=walk.signed,
        broken=broken,
    )


async def _batch(ports: Ports, world_id: int, name: NamedWorldRow, walk: _Walk) -> bool:
    """Verify the next links and the checkpoints over them; False when there are no more links."""
    async with ports.database.acquire() as connection:
        links = await chain_queries.read_links(connection, world_id, walk.number, _BATCH)
    if not links:
        return False
    last, unverified = links[-1].number, deque(links)
    async with aclosing(_checkpoints(ports, world_id, walk.position, last)) as checkpoints:
        # The first may cover no link of this batch: it was signed after the batch before had been read.
        async for checkpoint in checkpoints:
            _verify_links(unverified, checkpoint.number, walk)
            _verify_checkpoint(ports.signer, name, checkpoint, walk)
    _verify_links(unverified, last, walk)
    return True


async def _checkpoints(ports: Ports, world_id: int, after: int, up_to: int) -> AsyncGenerator[CheckpointRow]:
    """The checkpoints after a position that cover at most `up_to` entries."""
    while True:
        async with ports.database.acquire() as connection:
            page = await chain_queries.read_checkpoints(connection, world_id, after, up_to, _BATCH)
        for checkpoint in page:
            yield checkpoint
        if len(page) < _BATCH:
            return
        after = page[-1].position


def _verify_links(links: deque[LinkRow], up_to: int, walk: _Walk) -> None:
    """Verify the next links up to a number, and take them away."""
    while links and walk.number < up_to:
        link = links.popleft()
        walk.hash = _verify_link(link, walk)
        walk.number = link.number
        if walk.number - walk.signed >= _MOST_BETWEEN:
            raise _BrokenError(
                "missing",
                walk.number,
                None,
                f"no checkpoint was signed within {_MOST_BETWEEN} entries: the last one covers {walk.signed}",
            )


def _verify_link(link: LinkRow, walk: _Walk) -> bytes:
    """The hash of the next link. Raises _BrokenError when link, entry or details are not as written."""
    expected = walk.number + 1
    if link.number != expected:
        raise _BrokenError("missing", expected, None, f"the link of entry {expected} is missing")
    entry = entry_of(link)
    if entry is None:
        raise _BrokenError("missing", link.number, link.entry_id, "the entry is missing")
    if next_hash(walk.hash, entry) != link.hash:
        raise _BrokenError(
            "changed", link.number, link.entry_id, "the entry or its hash is not what was chained"
        )
    if link.salt is None or link.details is None:
        walk.erased += 1
    elif hash_of(link.salt, link.details.encode()) != entry.details_hash:
        raise _BrokenError(
            "details", link.number, link.entry_id, "the entry's values or address were changed"
        )
    return link.hash


def entry_of(link: LinkRow) -> ChainedEntry | None:
    """The entry of a link; None when it is missing."""
    if (
        link.id is None
        or link.created_at is None
        or link.actor_kind is None
        or link.action is None
        or link.resource_type is None
        or link.details_hash is None
    ):
        return None
    return ChainedEntry(
        link.id,
        link.created_at,
        link.actor_kind,
        link.actor_id,
        link.action,
        link.resource_type,
        link.resource_id,
        link.request_id,
        link.details_hash,
    )


def _verify_checkpoint(signer: Signer, name: NamedWorldRow, row: CheckpointRow, walk: _Walk) -> None:
    """Raises _BrokenError when a checkpoint is not signed, or says something else than the chain.

    The key of a checkpoint may be forgotten after LAPEL_SECRET was changed twice. Such a checkpoint is good
    if one that follows it is signed, because that one covers its text.
    """
    expected = walk.position + 1
    if row.position != expected:
        raise _BrokenError("missing", row.number, None, f"checkpoint {expected} of the chain is missing")
    signed = signed_claims(signer, row.token)
    claims = signed or unsigned_claims(row.token)
    if claims is None:
        raise _BrokenError("checkpoint", row.number, None, f"checkpoint {expected} cannot be read")
    told = (claims.project, claims.world, claims.position, claims.number, claims.previous, claims.iat)
    previous = None if walk.token is None else token_hash(walk.token)
    # The worker reads the time of the row to know whether the next checkpoint is due.
    made_at = int(row.created_at.timestamp())
    if told != (name.project_id, name.mode, row.position, row.number, previous, made_at):
        raise _BrokenError("checkpoint", row.number, None, f"checkpoint {expected} was replaced")
    if row.number != walk.number or claims.hash != walk.hash.hex():
        raise _BrokenError(
            "checkpoint",
            row.number,
            None,
            f"the chain up to entry {row.number} is not the one that checkpoint {expected} signed",
        )
    walk.unsigned = None if signed is not None else (walk.unsigned or row.number)
    walk.position, walk.signed, walk.token = row.position, row.number, row.token


async def _end(ports: Ports, world_id: int, walk: _Walk) -> None:
    """What is left when all links are verified: checkpoints beyond them, and entries without a link."""
    if walk.unsigned is not None:
        raise _BrokenError(
            "checkpoint",
            walk.unsigned,
            None,
            f"no key of this server signed the checkpoint of entry {walk.unsigned}, nor one after it. If "
            "LAPEL_SECRET was changed, give its former value as LAPEL_SECRET_PREVIOUS",
        )
    async with ports.database.acquire() as connection:
        beyond = await chain_queries.find_checkpoint_without_link(connection, world_id)
    if beyond is not None:
        raise _BrokenError(
            "missing",
            walk.number + 1,
            None,
            f"the chain ends before entry {beyond}, which a checkpoint covers: its end was removed, or "
            "table audit_chain comes from an older backup than table audit_checkpoints (`lapel restore` "
            "restores both from one moment)",
        )
    after = ""
    while True:
        async with ports.database.acquire() as connection:
            found = await chain_queries.find_stray(connection, world_id, after, _BATCH)
        if found.min is not None:
            raise _BrokenError(
                "inserted", None, found.min, "the entry is in the log, but was never given to the chain"
            )
        if found.max is None:
            return
        after = found.max


async def _compare(ports: Ports, world_id: int, name: NamedWorldRow, kept: KeptCheckpoints) -> None:
    async with ports.database.acquire() as connection:
        found = await kept.contradiction(connection, world_id, name.project_id, name.mode)
    if found is not None:
        checkpoint, sentence = found
        raise _BrokenError("rewritten", checkpoint.number, None, sentence)
