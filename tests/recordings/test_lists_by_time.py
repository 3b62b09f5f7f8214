"""A list by time shows the recordings of its range, however far `created_at` and `recorded_at` are apart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from lapel.slices.recordings.records import list_queries
from tests.support.plans import filled

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
MINUTES = (0, 1, 9, 10, 11, 24 * 60 - 1, 24 * 60, 24 * 60 + 1, 100_000)
# Seconds beside the limits of a range.
BESIDE = (-1, 0, 1)
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects VALUES ('proj_1', 'org_1', 'x', now());
INSERT INTO worlds (project_id, mode) VALUES ('proj_1', 'live');
INSERT INTO end_users (world_id, id, created_at, updated_at) SELECT id, 'eu_1', now(), now() FROM worlds;
"""
INSERT = """
INSERT INTO recordings (world_id, id, end_user_id, status, source, recorded_at, consent_obtained, created_at,
        updated_at)
    SELECT id, $1, 'eu_1', 'uploaded', 'device', $2, false, $3, now() FROM worlds
"""
AFTER, BEFORE = BEGINNING, BEGINNING + timedelta(days=2)


def recordings() -> list[tuple[str, datetime, datetime]]:
    """Id, `recorded_at` and `created_at` of recordings at both limits and between them."""
    times = [
        (at + timedelta(seconds=beside), sign * timedelta(minutes=minutes))
        for at in (AFTER, BEFORE, AFTER + timedelta(days=1))
        for beside in BESIDE
        for minutes in MINUTES
        for sign in (-1, 1)
    ]
    return [
        (f"rec_{number:04d}", recorded, recorded + apart) for number, (recorded, apart) in enumerate(times)
    ]


async def test_every_page_of_every_range(fresh_database: str) -> None:
    made = recordings()
    async with filled(fresh_database, FILL) as connection:
        world = await connection.fetchval("SELECT id FROM worlds")
        await connection.executemany(INSERT, made)
        for after, before in product((None, AFTER), (None, BEFORE)):
            given = {"end_user_id": "eu_1"}
            given |= {} if after is None else {"recorded_after": after}
            given |= {} if before is None else {"recorded_before": before}
            wanted = [
                name
                for name, recorded, _ in sorted(made, key=lambda each: (each[2], each[0]), reverse=True)
                if (after is None or recorded >= after) and (before is None or recorded < before)
            ]
            assert len(wanted) > 50
            assert await walked(connection, world, given) == wanted


async def walked(connection: Any, world: int, given: dict[str, Any]) -> list[str]:
    """The ids of all pages of seven, each from the place where the one before ended."""
    found: list[str] = []
    place = datetime.max.replace(tzinfo=UTC), "~"
    while True:
        for names in (tuple(given), tuple(name for name in given if name != "end_user_id")):
            values = [given[name] for name in names]
            page = await connection.fetch(list_queries.LISTS[names], world, *place, 7, 0, *values)
            ids = [row["id"] for row in page]
            skipped = await connection.fetch(list_queries.LISTS[names], world, *place, 4, 3, *values)
            assert [row["id"] for row in skipped] == ids[3:]
        found += ids
        if len(page) < 7:
            return found
        place = page[-1]["created_at"], page[-1]["id"]
