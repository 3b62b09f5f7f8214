"""Whatever a device tells, and whoever repeats or overtakes, a small model says what comes of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from tests.heartbeats.support import Worn

FACTS = ("battery_percent", "storage_used_mb", "signal_strength_dbm", "firmware_version")
STATE = ("device_state", "pending_recordings", "flags", "connection_type")


@dataclass
class Model:
    """What a device has told so far."""

    facts: dict[str, Any] = field(default_factory=lambda: dict.fromkeys(FACTS))
    state: dict[str, Any] = field(default_factory=lambda: {**dict.fromkeys(STATE), "connection_type": []})
    low: bool = False
    episodes: int = 0
    recording: bool = False
    events: set[str] = field(default_factory=set)

    def hear(self, body: dict[str, Any]) -> None:
        """One heartbeat."""
        given = {name: value for name, value in body.items() if value is not None}
        self.facts.update({name: given[name] for name in FACTS if name in given})
        self.state.update({name: given[name] for name in STATE if name in given})
        percent = self.facts["battery_percent"]
        if given.get("battery_percent", 0) >= 20:
            self.low = False
        if percent is not None and percent < 15 and not self.low:
            self.low = True
            self.episodes += 1
        if "device_state" in given:
            self.recording = given["device_state"] == "recording"
        self.events.update(each["event_id"] for each in given.get("diagnostics", {}).get("events", ()))


def heartbeat(chance: Random) -> dict[str, Any]:
    """Some of everything, now and then null."""
    whole: dict[str, Any] = {
        "battery_percent": chance.choice((0, 10, 14, 15, 19, 20, 21, 100)),
        "storage_used_mb": chance.randrange(2**40),
        "signal_strength_dbm": -chance.randrange(120),
        "firmware_version": chance.choice(("1.0", "1.1")),
        "device_state": chance.choice(("idle", "recording", "uploading", "lowBattery")),
        "pending_recordings": chance.randrange(9),
        "flags": chance.randrange(256),
        "connection_type": chance.sample(("wifi", "4g", "ble"), chance.randrange(4)),
        "diagnostics": {
            "events": [{"event_id": f"{chance.randrange(6):016x}"} for _ in range(chance.randrange(4))]
        },
    }
    told = {name: value for name, value in whole.items() if chance.random() < 0.4}
    return {name: None if chance.random() < 0.1 else value for name, value in told.items()}


@pytest.mark.parametrize("seed", range(12))
async def test_a_walk_ends_where_the_model_does(device: Worn, seed: int) -> None:
    chance, model = Random(seed), Model()
    for _ in range(25):
        body = heartbeat(chance)
        by_key = {"token": device.tenant.test_key, "device_id": device.id}
        ways: list[dict[str, str]] = [{}, {"device_id": device.id}, by_key]
        # Now and then the answer is lost, and the repeat overtakes or meets it.
        answers = await asyncio.gather(
            *(device.send(body, **chance.choice(ways)) for _ in range(chance.choice((1, 1, 1, 2, 3))))
        )
        model.hear(body)
        named = dict.fromkeys(each["event_id"] for each in (body.get("diagnostics") or {}).get("events", ()))
        for answer in answers:
            assert answer.status_code == 200, answer.text
            assert answer.json()["accepted_event_ids"] == list(named)
    shown = await device.shown()
    assert {name: shown[name] for name in FACTS} == model.facts
    assert (shown["recording_state"] or model.state) == model.state
    assert (await device.shown("/state"))["recording"]["active"] is model.recording
    assert {each[0] for each in await device.diagnostics()} == model.events
    assert len(await device.events("device.low_battery")) == model.episodes
    assert ((await device.row())["low_battery_since"] is not None) is model.low
