"""All SQL of the tokens that language models use for a world in a day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_value

if TYPE_CHECKING:
    from datetime import date

    from lapel.foundation.database.connection import Connection
    from lapel.slices.language_models.language_model import Tokens

# $4: the limit of the day.
RESERVE = """
INSERT INTO language_usage AS u (world_id, day, reserved_tokens)
SELECT $1, $2, $3::bigint WHERE $3::bigint <= $4::bigint
ON CONFLICT (world_id, day) DO UPDATE SET reserved_tokens = u.reserved_tokens + excluded.reserved_tokens
WHERE u.input_tokens + u.output_tokens + u.reserved_tokens + excluded.reserved_tokens <= $4::bigint
RETURNING reserved_tokens
"""
# $3: what was reserved; $4 to $7: what was used.
SETTLE = """
UPDATE language_usage SET reserved_tokens = greatest(reserved_tokens - $3, 0), calls = calls + $4,
    input_tokens = input_tokens + $5, output_tokens = output_tokens + $6, cached_tokens = cached_tokens + $7,
    cost_micros = cost_micros + $8
WHERE world_id = $1 AND day = $2
"""
FORGET = "DELETE FROM language_usage WHERE world_id = $1 AND day < $2"

# For the usage of a world ($1) on a day ($2): a join, and the columns that it brings.
JOIN_DAY = "LEFT JOIN language_usage l ON l.world_id = $1 AND l.day = $2"
OF_DAY = """coalesce(l.calls, 0) AS model_calls, coalesce(l.input_tokens, 0) AS input_tokens,
    coalesce(l.output_tokens, 0) AS output_tokens, coalesce(l.cached_tokens, 0) AS cached_tokens,
    coalesce(l.cost_micros, 0) AS cost_micros"""


async def reserve(connection: Connection, world_id: int, day: date, tokens: int, most: int) -> bool:
    """Reserve tokens if the day's sum stays within `most`. Returns whether they were reserved."""
    return await fetch_value(connection, int, RESERVE, world_id, day, tokens, most) is not None


async def settle(
    connection: Connection, world_id: int, day: date, reserved: int, used: Tokens, cost_micros: int
) -> None:
    """Count what a call used, in place of what was reserved for it. A call that used nothing is none."""
    sent, written = used.input or 0, used.output or 0
    calls = 1 if sent or written else 0
    await connection.execute(
        SETTLE, world_id, day, reserved, calls, sent, written, used.cached or 0, cost_micros
    )


async def forget(connection: Connection, world_id: int, day: date) -> None:
    """Delete the figures of days before this one."""
    await connection.execute(FORGET, world_id, day)
