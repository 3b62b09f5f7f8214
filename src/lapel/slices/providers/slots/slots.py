"""The engine that answers a slot in one world, and the key of its service.

A slot is one of the names that clients may send as `provider`. If no engine is set for a slot, the local
engine answers it. This module serves the work; operator.py serves the operator, who sets the engines.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lapel.foundation.identity.seal import SealBroken
from lapel.foundation.identity.sealed_values import SealedValue
from lapel.slices.providers.choice import SlotChoice, dollars
from lapel.slices.providers.provider_failures import ProviderFailed
from lapel.slices.providers.slots import slot_queries
from lapel.slices.providers.slots.regions import region_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.seal import Sealer
    from lapel.slices.providers.choice import Engine, Slot
    from lapel.slices.providers.rows import SlotRow


async def engine_of(connection: Connection, world_id: int, slot: Slot) -> Engine:
    """The name of the engine that answers a slot in a world."""
    row = await slot_queries.read(connection, world_id, slot)
    return "local" if row is None else row.engine


async def choice_of(connection: Connection, sealer: Sealer, world_id: int, slot: Slot) -> SlotChoice:
    """The engine of a slot in a world, with its key.

    Raises ProviderFailed when the key can no longer be read.
    """
    row = await slot_queries.read(connection, world_id, slot)
    return SlotChoice(slot=slot) if row is None else _readable(sealer, row)


async def account_at(
    connection: Connection, sealer: Sealer, world_id: int, like: SlotChoice
) -> SlotChoice | None:
    """A slot of the world with the engine and the base URL of `like`, preferably the same slot.

    None if there is none. Raises ProviderFailed when its key can no longer be read.
    """
    row = await slot_queries.find_account(connection, world_id, like.engine, like.base_url, like.slot)
    return None if row is None else _readable(sealer, row)


def at_vendor(choice: SlotChoice) -> bool:
    """Whether a choice has an address of the engine's vendor."""
    return region_of(choice.engine, choice.base_url) is not None or choice.base_url is None


def _readable(sealer: Sealer, row: SlotRow) -> SlotChoice:
    try:
        return stored_choice(sealer, row)
    except SealBroken:
        raise ProviderFailed(
            f"The key for {row.slot} was sealed under another secret.",
            remedy=f"Set it again: `lapel providers set {row.slot} --key-file FILE`, or name the former "
            "secret in LAPEL_SECRET_PREVIOUS.",
        ) from None


def stored_choice(sealer: Sealer, row: SlotRow) -> SlotChoice:
    """The engine that a slot's settings name, with its key. Raises SealBroken, as `opened` does."""
    return SlotChoice(
        slot=row.slot,
        engine=row.engine,
        model=row.model,
        base_url=row.base_url,
        key=opened(sealer, row),
        allow_training=row.allow_training,
        context_tokens=row.context_tokens,
        input_price=dollars(row.input_price),
        cached_price=dollars(row.cached_price),
        cache_write_price=dollars(row.cache_write_price),
        output_price=dollars(row.output_price),
    )


def sealed(sealer: Sealer, world_id: int, choice: SlotChoice) -> bytes | None:
    """The key, encrypted for storage; None without a key.

    Only a slot with the same world, name, engine and base URL can decrypt it.
    """
    if choice.key is None:
        return None
    context = _context(world_id, choice.slot, choice.engine, choice.base_url)
    return sealer.seal(choice.key.encode(), context)


def opened(sealer: Sealer, row: SlotRow) -> str | None:
    """The key of a slot in plain text; None without a key.

    Raises SealBroken if the key was sealed under another secret, or for another world, slot, engine or base
    URL.
    """
    if row.sealed_key is None:
        return None
    context = _context(row.world_id, row.slot, row.engine, row.base_url)
    return sealer.open(row.sealed_key, context).decode()


async def walk_sealed_keys(connection: Connection, batch: int) -> AsyncGenerator[list[SealedValue]]:
    """The keys of all slots, as they are stored; so many in each batch."""
    async for rows in slot_queries.walk_keys(connection, batch):
        yield [
            SealedValue(
                row.sealed_key,
                _context(row.world_id, row.slot, row.engine, row.base_url),
                partial(slot_queries.reseal, row),
            )
            for row in rows
            if row.sealed_key is not None
        ]


def _context(world_id: int, slot: Slot, engine: Engine, base_url: str | None) -> bytes:
    return f"provider:{world_id}:{slot}:{engine}:{base_url or ''}".encode()
