"""All SQL of the slots: which engine answers a slot in a world, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_row, fetch_rows
from lapel.slices.providers.choice import millionths
from lapel.slices.providers.rows import EngineCountRow, OperatorSlotRow, SlotRow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.slices.providers.choice import Engine, Slot, SlotChoice

_COLUMNS = """s.world_id, s.slot, s.engine, s.model, s.base_url, s.sealed_key, s.allow_training,
    s.context_tokens, s.input_price, s.cached_price, s.cache_write_price, s.output_price, s.updated_at"""
READ = f"SELECT {_COLUMNS} FROM provider_slots s WHERE s.world_id = $1 AND s.slot = $2"
LIST = f"SELECT {_COLUMNS} FROM provider_slots s WHERE s.world_id = $1"
PUT = """
INSERT INTO provider_slots (world_id, slot, engine, model, base_url, sealed_key, allow_training, created_at,
    updated_at, context_tokens, input_price, cached_price, cache_write_price, output_price)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10, $11, $12, $13)
ON CONFLICT (world_id, slot) DO UPDATE SET engine = excluded.engine, model = excluded.model,
    base_url = excluded.base_url, sealed_key = excluded.sealed_key,
    allow_training = excluded.allow_training, updated_at = excluded.updated_at,
    context_tokens = excluded.context_tokens, input_price = excluded.input_price,
    cached_price = excluded.cached_price, cache_write_price = excluded.cache_write_price,
    output_price = excluded.output_price
"""
# A slot of the world that uses this engine at this address; preferably the slot $4.
FIND_ACCOUNT = f"""
SELECT {_COLUMNS} FROM provider_slots s
WHERE s.world_id = $1 AND s.engine = $2 AND s.base_url IS NOT DISTINCT FROM $3
ORDER BY s.slot = $4 DESC LIMIT 1
"""
DELETE = "DELETE FROM provider_slots WHERE world_id = $1 AND slot = $2"

# For the operator, over all projects, batch by batch: those behind the slot $1, $2.
LIST_KEYS = f"""
SELECT {_COLUMNS}, w.project_id, w.mode
FROM provider_slots s JOIN worlds w ON w.id = s.world_id
WHERE s.sealed_key IS NOT NULL AND (s.world_id, s.slot) > ($1, $2) ORDER BY s.world_id, s.slot LIMIT $3
"""
# Not a key that was replaced meanwhile.
RESEAL = "UPDATE provider_slots SET sealed_key = $4 WHERE world_id = $1 AND slot = $2 AND sealed_key = $3"
LIST_REMOTE = f"""
SELECT {_COLUMNS}, w.project_id, w.mode
FROM provider_slots s JOIN worlds w ON w.id = s.world_id
WHERE s.engine <> 'local' ORDER BY w.project_id, w.mode, s.slot LIMIT $1
"""
COUNT_REMOTE = """
SELECT s.slot, s.engine, count(s.world_id) AS worlds
FROM provider_slots s WHERE s.engine <> 'local' GROUP BY s.slot, s.engine ORDER BY s.slot, s.engine
"""


async def read(connection: Connection, world_id: int, slot: Slot) -> SlotRow | None:
    """The settings of a slot; None when nothing is set."""
    return await fetch_row(connection, SlotRow, READ, world_id, slot)


async def list_slots(connection: Connection, world_id: int) -> list[SlotRow]:
    """The stored settings of a world's slots."""
    return await fetch_rows(connection, SlotRow, LIST, world_id)


async def put(
    connection: Connection, world_id: int, choice: SlotChoice, sealed_key: bytes | None, now: datetime
) -> None:
    """Store the settings of a slot, in place of the old ones. `sealed_key`: the choice's key, encrypted."""
    await connection.execute(
        PUT,
        world_id,
        choice.slot,
        choice.engine,
        choice.model,
        choice.base_url,
        sealed_key,
        choice.allow_training,
        now,
        choice.context_tokens,
        millionths(choice.input_price),
        millionths(choice.cached_price),
        millionths(choice.cache_write_price),
        millionths(choice.output_price),
    )


async def find_account(
    connection: Connection, world_id: int, engine: Engine, base_url: str | None, slot: Slot
) -> SlotRow | None:
    """The settings of a slot that uses this engine at this address; preferably of `slot`."""
    return await fetch_row(connection, SlotRow, FIND_ACCOUNT, world_id, engine, base_url, slot)


async def delete(connection: Connection, world_id: int, slot: Slot) -> None:
    """Delete the settings of a slot, so that the local engine answers it."""
    await connection.execute(DELETE, world_id, slot)


async def walk_keys(connection: Connection, batch: int = 1000) -> AsyncGenerator[list[OperatorSlotRow]]:
    """The slots of all projects for which a key is stored, so many in each batch."""
    after = (0, "")
    while rows := await fetch_rows(connection, OperatorSlotRow, LIST_KEYS, *after, batch):
        yield rows
        after = (rows[-1].world_id, rows[-1].slot)


async def reseal(row: OperatorSlotRow, connection: Connection, sealed_key: bytes) -> None:
    """Replace a sealed key, unless the slot has another one than `row` by now."""
    await connection.execute(RESEAL, row.world_id, row.slot, row.sealed_key, sealed_key)


async def count_remote(connection: Connection) -> list[EngineCountRow]:
    """In how many worlds a remote engine answers a slot. The local engine answers the slots of all others."""
    return await fetch_rows(connection, EngineCountRow, COUNT_REMOTE)


async def list_remote(connection: Connection, most: int) -> list[OperatorSlotRow]:
    """The slots of all projects that a remote engine answers, at most `most`."""
    return await fetch_rows(connection, OperatorSlotRow, LIST_REMOTE, most)
