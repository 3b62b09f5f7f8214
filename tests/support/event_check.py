"""Reads the events that tests have caused, as a receiver of webhooks would."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

import asyncpg

from lapel import app
from lapel.foundation.core.clock import SystemClock
from lapel.foundation.core.ids import TimeOrderedIds
from tests.support.strict.events import TYPES, check_event

# Events that a test wrote itself do not have ids of this form.
EVENTS = "SELECT body FROM events WHERE length(id) = 28"


def keys_of(type_: str, data: dict[str, Any]) -> tuple[set[str], set[str]]:
    """The keys of an event's data, and those of the object that it nests under its own name."""
    return set(data), set(data[TYPES[type_][0]])


@cache
def sample_of(type_: str) -> dict[str, Any]:
    """The data of a test event."""
    make = next(each.events[type_] for each in app.SLICES if type_ in each.events)
    ids = TimeOrderedIds(SystemClock())
    return json.loads(make(ids, datetime.now(UTC), ids.new("proj")).data)


def check_alike(body: bytes) -> None:
    """Raises AssertionError when a test event of the same type would have other keys."""
    event: dict[str, Any] = json.loads(body)
    type_: str = event["type"]
    assert keys_of(type_, event["data"]) == keys_of(type_, sample_of(type_)), f"the sample of {type_}"


async def check_events(database_url: str) -> None:
    """Raises AssertionError for the first event of a database that breaks the contract, or whose keys are not
    those of a test event."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            async for row in connection.cursor(EVENTS):
                check_event(row["body"])
                check_alike(row["body"])
    finally:
        await connection.close()
