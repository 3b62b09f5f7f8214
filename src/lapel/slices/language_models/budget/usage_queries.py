"""All SQL of the tokens that language models use for a world in a day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_only_value, fetch_value

if TYPE_CHECKING:
    from datetime import date

    from lapel.foundation.database.connection import Connection
    from lapel.slices.language_models.language_model import Tokens

# Locks the row of the day, so that the calls of a world reserve one after the other.
LOCK_DAY = """
INSERT INTO language_usage AS u (world_id, day) VALUES ($1, $2)
ON CONFLICT (world_id, day) DO UPDATE SET calls = u.calls
RETURNING input_tokens + output_tokens
"""
# $4: the seconds after which it ends by itself; $5: what is left for all reservations of the day.
RESERVE = """
INSERT INTO language_reservations (world_id, day, tokens, ends_at)
SELECT $1, $2, $3::bigint, clock_timestamp() + make_interval(secs => $4)
WHERE $3::bigint + coalesce((
    SELECT sum(tokens) FROM language_reservations
    WHERE world_id = $1 AND day = $2 AND ends_at > clock_timestamp()), 0) <= $5::bigint
RETURNING id
"""
# Their processes were killed.
END_LATE = """
DELETE FROM language_reservations WHERE world_id = $1 AND id IN (
    SELECT id FROM language_reservations WHERE world_id = $1 AND ends_at <= clock_timestamp()
    FOR UPDATE SKIP LOCKED)
"""
RELEASE = "DELETE FROM language_reservations WHERE world_id = $1 AND id = $2"
# $3 to $7: what was used.
COUNT = """
UPDATE language_usage SET calls = calls + $3, input_tokens = input_tokens + $4,
    output_tokens = output_tokens + $5, cached_tokens = cached_tokens + $6, cost_micros = cost_micros + $7
WHERE world_id = $1 AND day = $2
"""
FORGET = "DELETE FROM language_usage WHERE world_id = $1 AND day < $2"

# For the usage of a world ($1) on a day ($2): a join, and the columns that it brings.
JOIN_DAY = "LEFT JOIN language_usage l ON l.world_id = $1 AND l.day = $2"
OF_DAY = """coalesce(l.calls, 0) AS model_calls, coalesce(l.input_tokens, 0) AS input_tokens,
    coalesce(l.output_tokens, 0) AS output_tokens, coalesce(l.cached_tokens, 0) AS cached_tokens,
    coalesce(l.cost_micros, 0) AS cost_micros"""


async def reserve(
    connection: Connection, world_id: int, day: date, tokens: int, *, most: int, seconds: float
) -> int | None:
    """Reserve tokens if the day's sum stays within `most`. Returns the reservation; None if it would not.

    The reservation ends after so many seconds, if nobody settles it.
    """
    used = await fetch_only_value(connection, int, LOCK_DAY, world_id, day)
    await connection.execute(END_LATE, world_id)
    return await fetch_value(connection, int, RESERVE, world_id, day, tokens, seconds, most - used)


async def settle(
    connection: Connection, world_id: int, day: date, reservation: int, used: Tokens, cost_micros: int
) -> None:
    """Count what a call used, and end its reservation. A call that used nothing is none."""
    sent, written = used.input or 0, used.output or 0
    if sent or written:
        await connection.execute(COUNT, world_id, day, 1, sent, written, used.cached or 0, cost_micros)
    await connection.execute(RELEASE, world_id, reservation)


async def forget(connection: Connection, world_id: int, day: date) -> None:
    """Delete the figures of days before this one."""
    await connection.execute(FORGET, world_id, day)
