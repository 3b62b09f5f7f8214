"""A time in a question limits the recordings of a session about several, as the asker's zone counts days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lapel.slices.recordings.records import time_queries
from tests.ask.conftest import Asker
from tests.ask.scripted import says
from tests.support.running import Running

Json = dict[str, Any]
WHEN = "UPDATE recordings SET recorded_at = $3, name = $4 WHERE world_id = $1 AND id = $2"
INDEXED = "UPDATE search_chunks SET recorded_at = $3 WHERE world_id = $1 AND recording_id = $2"


def ago(**how: float) -> datetime:
    return datetime.now(UTC) - timedelta(**how)


async def said_at(asker: Asker, end_user_id: str, moment: datetime, *sentences: str) -> str:
    """A recording of a time; its name is its day."""
    made = await asker.recording(*sentences, end_user_id=end_user_id)
    await asker.library.execute(WHEN, asker.world_id, made, moment, f"{moment:%Y-%m-%d}")
    await asker.library.execute(INDEXED, asker.world_id, made, moment)
    return made


async def library(asker: Asker, end_user_id: str, **more: Any) -> str:
    body = {"scope": {"type": "library"}, "end_user_id": end_user_id, **more}
    return (await asker.device.post("/v1/ask/sessions", 201, body))["id"]


async def sources(asker: Asker, session_id: str, question: str) -> set[str]:
    answer = await asker.ask(session_id, question)
    return {each["recording_id"] for each in answer["sources"]}


async def test_only_recordings_of_the_time_are_searched(asker: Asker) -> None:
    end_user = await asker.device.end_user()
    midday = datetime.now(UTC).replace(hour=12)
    old = await said_at(asker, end_user, midday - timedelta(days=20), "The budget of the roof is 300 euros.")
    new = await said_at(asker, end_user, midday - timedelta(days=1), "The budget of the roof is 500 euros.")
    session = await library(asker, end_user)
    asker.script(says("The budget of the roof is 500 euros [1]."))
    assert await sources(asker, session, "What did we say yesterday about the budget of the roof?") == {new}
    assert await sources(asker, session, "What is the budget of the roof?") == {old, new}
    assert await sources(asker, session, "What did the oldest recording say of the budget?") == {old}
    assert await sources(asker, session, "What does the newest recording say of the budget?") == {new}


async def test_a_selected_recording_of_another_time_is_not_searched(asker: Asker) -> None:
    end_user = await asker.device.end_user()
    old = await said_at(asker, end_user, ago(days=40), "The budget of the roof is 300 euros.")
    new = await said_at(asker, end_user, ago(days=2), "The budget of the roof is 500 euros.")
    await said_at(asker, end_user, ago(days=2), "The budget of the roof is 900 euros.")
    body = {"scope": {"type": "selected", "recording_ids": [old, new]}, "end_user_id": end_user}
    session = (await asker.device.post("/v1/ask/sessions", 201, body))["id"]
    asker.script(says("The budget of the roof is 500 euros [1]."))
    assert await sources(asker, session, "What was the budget of the roof in the last 3 days?") == {new}


async def test_a_session_about_one_recording_is_not_limited(asker: Asker) -> None:
    session = await asker.about_roof()
    asker.script(says("The roof is repaired in May [{repaired}]."))
    answer = await asker.ask(session["id"], "What did we say yesterday about the roof?")
    assert answer["message"]["content"] == "The roof is repaired in May."


async def test_their_number_needs_no_model(asker: Asker) -> None:
    end_user = await asker.device.end_user()
    for days in (8, 9, 60):
        await said_at(asker, end_user, ago(days=days), "We spoke of the roof.")
    session = await library(asker, end_user)
    model = asker.script(says("x"))
    for question, told in (
        ("How many recordings are there?", "There are 3 recordings."),
        ("How many conversations were there in the last 3 weeks?", "There are 2 recordings from"),
        ("Wie viele Gespräche gab es gestern?", "Es gibt keine Aufnahmen vom"),
        ("What did we decide yesterday?", "There are no recordings of"),
    ):
        answer = await asker.ask(session, question)
        assert answer["message"]["content"].startswith(told)
        assert answer["sources"] == []
        assert [each["type"] for each in answer["message"]["parts"]] == ["text"]
    assert model.prompts == []


async def test_the_zone_of_the_configuration_says_when_a_day_begins(asker: Asker) -> None:
    """Somewhere it is always another day: the zones are 25 hours apart."""
    end_user = await asker.device.end_user()
    now = datetime.now(UTC)
    # Midday of yesterday in the western zone, which is the day before yesterday in the eastern one, if it is
    # another day there.
    west, east = now - timedelta(hours=11), now + timedelta(hours=14)
    moment = (west - timedelta(days=1)).replace(hour=12) + timedelta(hours=11)
    await said_at(asker, end_user, moment, "The budget of the roof is 500 euros.")
    session = await library(asker, end_user)
    model = asker.script(says("The budget of the roof is 500 euros [1]."))
    path = f"/v1/end-users/{end_user}/config/processing"
    await asker.device.call("PATCH", path, 200, {"time_zone": "Pacific/Midway"})
    answer = await asker.ask(session, "What did we say yesterday about the budget?")
    assert answer["sources"]
    shown = model.prompts[-1].messages[-1].text
    assert f"It is {west:%A %Y-%m-%d}" in shown
    assert f'"date":"{west - timedelta(days=1):%a %Y-%m-%d}"' in shown
    await asker.device.call("PATCH", path, 200, {"time_zone": "Pacific/Kiritimati"})
    answer = await asker.ask(session, "What did we say yesterday about the budget?")
    assert bool(answer["sources"]) is (
        (moment + timedelta(hours=14)).date() == east.date() - timedelta(days=1)
    )


async def test_another_project_counts_nothing_here(asker: Asker, asking: Running) -> None:
    end_user = await asker.device.end_user()
    await said_at(asker, end_user, ago(days=1), "We spoke of the roof.")
    async with asking.ports.database.acquire() as connection:
        wanted = time_queries.RecordedBetween(world_id=asker.world_id + 1, end_user_id=end_user)
        assert await time_queries.count_recorded(connection, wanted) == 0
        assert await time_queries.find_recorded(connection, wanted, limit=5) == []


@pytest.mark.parametrize("zone", ["Nowhere/Land", "Europe"])
async def test_a_zone_that_nobody_knows_is_utc(asker: Asker, zone: str) -> None:
    end_user = await asker.device.end_user()
    await said_at(asker, end_user, ago(hours=1), "We spoke of the roof.")
    path = f"/v1/end-users/{end_user}/config/processing"
    await asker.device.call("PATCH", path, 200, {"time_zone": zone})
    model = asker.script(says("We spoke of the roof [1]."))
    await asker.ask(await library(asker, end_user), "What was said of the roof?")
    assert "where the question is asked (UTC)" in model.prompts[-1].messages[-1].text
