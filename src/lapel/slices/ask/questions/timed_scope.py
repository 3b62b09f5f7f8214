"""Limits a question about several recordings to those of the time that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from lapel.slices.ask.questions.period import moment
from lapel.slices.ask.questions.told_counts import told_count
from lapel.slices.recordings.service import RecordedBetween, count_recorded, find_recorded

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.slices.ask.questions.asked_question import AskedQuestion

# Recordings that are searched by their ids. Of more, those with a `recorded_at` of the time are.
_MOST_IDS = 1_000


def zone_named(name: object) -> ZoneInfo:
    """The zone; UTC if it is not in this machine's database."""
    try:
        return ZoneInfo(str(name or "UTC"))
    except (ZoneInfoNotFoundError, ValueError, OSError):  # folders of the database raise an OSError
        return ZoneInfo("UTC")


async def limited_to_time(connection: Connection, asked: AskedQuestion) -> tuple[AskedQuestion, str | None]:
    """The question about the recordings that it means, and what it is told at once: their number, if it asks
    for it, or that there are none."""
    time, zone = asked.time, asked.zone
    if asked.scope_type == "recording" or not time.is_limited:
        return asked, None
    after, before = moment(time.period.first, zone), moment(time.period.end, zone)
    wanted = RecordedBetween(
        world_id=asked.world_id,
        end_user_id=asked.end_user_id,
        recording_ids=None if asked.scope_type == "library" else asked.recording_ids,
        after=after,
        before=before,
    )
    count = await count_recorded(connection, wanted)
    if time.counts or not count:
        return asked, told_count(time.language, count, time.period)
    limit = _MOST_IDS + 1 if time.order is None else 1
    ids = await find_recorded(connection, wanted, limit=limit, oldest=time.order == "oldest")
    if len(ids) <= _MOST_IDS:
        return msgspec.structs.replace(asked, scope_type="selected", recording_ids=ids), None
    return msgspec.structs.replace(asked, after=after, before=before), None
