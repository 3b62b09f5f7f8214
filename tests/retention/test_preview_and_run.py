"""What the preview says falls due until a time is what a run at that time erases, whatever the rules are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

import pytest

from lapel.foundation.ports import Ports
from tests.recordings.support import Device, Json
from tests.retention.support import DAY, after, hold, preview

GRACE = timedelta(hours=22)
LEVELS = ("device", "end_user", "project", "organization")
DAYS = (1, 2, 3, 5, 8, 13)

INSERT_RULE = """
INSERT INTO config_overrides (world_id, level, subject_id, section, value, revision, updated_at)
VALUES ($1, $2, $3, 'retention', $4, 1, $5)
"""
INSERT_RULE_OF_ORGANIZATION = """
INSERT INTO organization_config_overrides (organization_id, mode, section, value, revision, updated_at)
SELECT p.organization_id, 'test', 'retention', $2, 1, $3 FROM projects p WHERE p.id = $1
"""
INSERT_RECORDING = """
INSERT INTO recordings (world_id, id, end_user_id, device_id, status, source, consent_obtained, created_at,
    updated_at, uploaded_at, content_sha256, content_sha256_verified_at, file_size_bytes)
VALUES ($1, $2, $3, $4, $5, 'device', false, $6, $6, $7, $8, $9, $10)
"""
INSERT_AUDIO = """
INSERT INTO media (world_id, id, recording_id, type, status, content_type, file_size_bytes, object_key,
    created_at, last_url_expires_at, reconcile_at)
VALUES ($1, $2, $3, 'audio', 'uploaded', 'audio/opus', $4, 'media/' || $2, $5, $5, $5)
"""
LEFT = "SELECT id, audio_erased_at IS NOT NULL AS silent FROM recordings WHERE world_id = $1"
FORGET = "DELETE FROM organization_config_overrides"


@dataclass(frozen=True, slots=True)
class Kept:
    """A recording of the model."""

    id: str
    end_user: str
    device: str | None
    received: datetime
    heard: datetime | None
    size: int


Rules = dict[tuple[str, str], tuple[dict[str, int], datetime]]


class Model:
    """The same rules a second time, in a few lines."""

    def __init__(self, random: Random, now: datetime, people: list[str], devices: list[str]) -> None:
        self.random, self.now, self.people, self.devices = random, now, people, devices
        subjects = {
            "organization": [""],
            "project": [""],
            "end_user": people[: random.randrange(len(people) + 1)],
            "device": devices[: random.randrange(len(devices) + 1)],
        }
        self.rules: Rules = {}
        for level, each in subjects.items():
            for subject in each:
                days = {
                    name: random.choice(DAYS)
                    for name in ("recordings_days", "audio_days")
                    if random.random() < 0.5
                }
                if days:
                    self.rules[level, subject] = (days, now - timedelta(hours=random.choice([0, 1, 30, 200])))

    def recording(self, number: int, name: str) -> Kept:
        """A recording as it may be."""
        random = self.random
        created = self.now - timedelta(hours=random.randrange(0, 400), seconds=number)
        uploaded = created + timedelta(hours=random.choice([0, 1, 70])) if random.random() < 0.8 else None
        heard = None if uploaded is None or random.random() < 0.2 else uploaded + timedelta(hours=number % 3)
        device = random.choice([None, *self.devices])
        size = random.randrange(1000)
        return Kept(name, random.choice(self.people), device, uploaded or created, heard, size)

    def due(self, kept: Kept, kind: str) -> tuple[datetime, str, int] | None:
        """When something falls due, and the level and days of the rule."""
        since = kept.received if kind == "recording" else kept.heard
        found = []
        for place, level in enumerate(LEVELS):
            subject = {"device": kept.device, "end_user": kept.end_user}.get(level, "")
            days, changed = self.rules.get((level, subject or ""), ({}, self.now))
            many = days.get("recordings_days" if kind == "recording" else "audio_days")
            if since is not None and many is not None:
                found.append((max(since + timedelta(hours=24 * many), changed + GRACE), place, level, many))
        first = min(found, default=None)
        return None if first is None else (first[0], first[2], first[3])


async def store(device: Device, ports: Ports, model: Model, kept: list[Kept]) -> None:
    """The model's rules and recordings, in the database."""
    world = device.tenant.test_world
    async with ports.database.transaction() as connection:
        await connection.execute(FORGET)
        for (level, subject), (days, changed) in model.rules.items():
            value = json.dumps(days)
            if level == "organization":
                await connection.execute(
                    INSERT_RULE_OF_ORGANIZATION, device.tenant.project_id, value, changed
                )
            else:
                await connection.execute(INSERT_RULE, world, level, subject, value, changed)
        for each in kept:
            sha256 = None if each.heard is None else "0" * 64
            status = "pending" if each.heard is None else "uploaded"
            size = None if each.heard is None else each.size
            row = (each.received, each.received, sha256, each.heard, size)
            await connection.execute(
                INSERT_RECORDING, world, each.id, each.end_user, each.device, status, *row
            )
            if each.heard is not None:
                media = each.id.replace("rec_", "med_")
                await connection.execute(INSERT_AUDIO, world, media, each.id, each.size, each.heard)


async def all_pages(device: Device, ports: Ports, by: timedelta, limit: int) -> list[Json]:
    items: list[Json] = []
    cursor = ""
    while True:
        page = await preview(device, ports, by, limit=limit, cursor=cursor)
        items += page["data"]
        if not page["has_more"]:
            return items
        cursor = page["next_cursor"]


def shown(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize("seed", range(6))
async def test_a_run_erases_what_the_preview_says(device: Device, ports: Ports, seed: int) -> None:
    random = Random(seed)
    now = ports.clock.now()
    people = [await device.end_user() for _ in range(3)]
    recorders = [
        (await device.post("/v1/devices", 201, {"serial_number": f"PREVIEW{each}", "model": "bota_pin"}))[
            "id"
        ]
        for each in range(3)
    ]
    model = Model(random, now, people, recorders)
    kept = [model.recording(number, ports.ids.new("rec")) for number in range(40)]
    await store(device, ports, model, kept)
    held = {each.id for each in kept[:2]} | {each.id for each in kept if each.end_user == people[2]}
    for resource_id in (kept[0].id, kept[1].id, people[2]):
        await hold(device, resource_id)
    by = random.choice([timedelta(0), timedelta(hours=1), DAY, 3 * DAY, 10 * DAY])
    # Rows that fall due at about that time, and not before or after both calls, would make the test unstable.
    moment = now + by
    items = await all_pages(device, ports, by, random.choice([3, 7, 100]))

    expected: dict[tuple[str, str], tuple[str, str, int, bool]] = {}
    for each in kept:
        own, audio = model.due(each, "recording"), model.due(each, "audio")
        if own is not None and own[0] <= moment:
            expected[each.id, "recording"] = (shown(own[0]), *own[1:], each.id in held)
        if audio is not None and audio[0] <= moment and (own is None or audio[0] < own[0]):
            expected[each.id, "audio"] = (shown(audio[0]), *audio[1:], each.id in held)
    found = {
        (each["recording_id"], each["kind"]): (
            each["falls_due_at"],
            each["rule"]["source"],
            each["rule"]["days"],
            each["held"],
        )
        for each in items
    }
    assert found == expected
    assert len(items) == len(expected)
    sizes = {each.id: each.size for each in kept if each.heard is not None}
    totals = (await preview(device, ports, by))["totals"]
    free = {key for key, (*_, is_held) in expected.items() if not is_held}
    audio = {recording_id for recording_id, kind in free if kind == "audio"}
    gone = {recording_id for recording_id, kind in free if kind == "recording"}
    assert totals == {
        "recording": {"count": len(gone), "bytes": sum(sizes.get(each, 0) for each in gone - audio)},
        "audio": {"count": len(audio), "bytes": sum(sizes[each] for each in audio)},
        "complete": True,
    }

    done = await after(ports, by, batch=random.choice([1, 7, 200])).run()
    assert done == {"recording": len(gone), "audio": len(audio - gone)}
    async with ports.database.acquire() as connection:
        left = {row["id"]: row["silent"] for row in await connection.fetch(LEFT, device.tenant.test_world)}
    assert set(left) == {each.id for each in kept} - gone
    assert {each for each, silent in left.items() if silent} == audio - gone
    assert {each["kind"] for each in await all_pages(device, ports, by, 100) if not each["held"]} == set()
    async with ports.database.acquire() as connection:
        await connection.execute(FORGET)
