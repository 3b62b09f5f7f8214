"""All SQL of the usage of a world: one index scan for each figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_only_row
from lapel.slices.devices.service import COUNT_DEVICES
from lapel.slices.end_users.service import COUNT_END_USERS
from lapel.slices.language_models.service import JOIN_DAY, OF_DAY
from lapel.slices.recordings.service import COUNT_PRESENT, GOING, PRESENT_BYTES
from lapel.slices.transcription.service import SUM_OF_DAY

if TYPE_CHECKING:
    from datetime import date

    from lapel.foundation.database.connection import Connection


class UsageRow(msgspec.Struct, frozen=True):
    """The figures of a world: counts, bytes, and milliseconds transcribed and tokens used on a day.

    `cost_micros`: millionths of a US dollar.
    """

    end_users: int
    devices: int
    recordings: int
    media_bytes: int
    transcribed_ms: int
    model_calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_micros: int


USAGE = f"""
WITH {GOING}
SELECT ({COUNT_END_USERS}) AS end_users, ({COUNT_DEVICES}) AS devices, {COUNT_PRESENT} AS recordings,
    {PRESENT_BYTES} AS media_bytes,
    {SUM_OF_DAY} AS transcribed_ms, {OF_DAY}
FROM (VALUES (1)) one {JOIN_DAY}
"""


async def usage(connection: Connection, world_id: int, day: date) -> UsageRow:
    """The figures of a world at one moment. What was transcribed and used: on `day` (UTC)."""
    return await fetch_only_row(connection, UsageRow, USAGE, world_id, day)
