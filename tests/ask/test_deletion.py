"""What is deleted takes along what was made from it; and nobody gets what others said."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lapel.slices.ask.service import erase_some_sessions
from lapel.slices.projects.scopes import SCOPES
from tests.ask.conftest import ROOF, Asker
from tests.ask.scripted import Gate, says
from tests.support.locks import until_waiting
from tests.support.running import Running
from tests.support.tenants import bearer, make_key

Json = dict[str, Any]
SECRET = "The password of the safe is MAGNOLIA."
EVERYTHING = """
SELECT count(*) FROM (
    SELECT content FROM ask_messages WHERE world_id = $1
    UNION ALL SELECT convert_from(parts, 'UTF8') FROM ask_messages WHERE world_id = $1
    UNION ALL SELECT convert_from(sources, 'UTF8') FROM ask_messages WHERE world_id = $1
    UNION ALL SELECT convert_from(parts, 'UTF8') FROM ask_answers WHERE world_id = $1
) told (text) WHERE text LIKE '%MAGNOLIA%'
"""

MADE_FROM = "SELECT count(*) FROM ask_answer_recordings WHERE world_id = $1 AND recording_id = $2"
LOCK_TO_DELETE = "SELECT FROM recordings WHERE world_id = $1 AND id = $2 FOR UPDATE"
DELETE_ROW = "DELETE FROM recordings WHERE world_id = $1 AND id = $2"


async def _library(asker: Asker, end_user_id: str) -> Json:
    body = {"scope": {"type": "library"}, "end_user_id": end_user_id}
    return await asker.device.post("/v1/ask/sessions", 201, body)


async def test_a_recording_takes_its_session_along(asker: Asker) -> None:
    asker.script(says("The roof is repaired in May [{repaired}]."))
    session = await asker.about_roof()
    await asker.ask(session["id"], "When?")
    await asker.device.call("DELETE", f"/v1/recordings/{session['scope']['recording_ids'][0]}", 204)
    await asker.read(session["id"], 404)
    assert (await asker.device.call("GET", "/v1/ask/sessions", 200))["data"] == []


async def test_a_recording_takes_along_what_was_made_from_it(asker: Asker, asking: Running) -> None:
    end_user_id = await asker.device.end_user()
    roof = await asker.recording(*ROOF, end_user_id=end_user_id)
    safe = await asker.recording("Good morning.", SECRET, end_user_id=end_user_id)
    session = await _library(asker, end_user_id)
    asker.script(says("The password of the safe is MAGNOLIA [{MAGNOLIA}]."))
    told = await asker.ask(session["id"], "What is the password of the safe?")
    assert {each["recording_id"] for each in told["sources"]} == {safe}
    # It continues an answer that was made from the recording, and repeats it.
    asker.script(says("The roof is repaired in May [{repaired}], and MAGNOLIA is the password."))
    await asker.ask(session["id"], "When is the roof of the school repaired?")
    await asker.device.call("DELETE", f"/v1/recordings/{safe}", 204)
    assert await asker.messages(session["id"]) == []
    after = await asker.read(session["id"])
    assert (after["message_count"], after["title"]) == (0, "New chat")
    assert (after["last_model"], after["last_provider"]) == (None, None)
    assert after["last_message_at"] == after["created_at"]
    async with asking.ports.database.acquire() as connection:
        assert await connection.fetchval(EVERYTHING, asker.world_id) == 0
    asker.script(says("The roof is repaired in May [{repaired}]."))
    answer = await asker.ask(session["id"], "When is the roof of the school repaired?")
    await asker.device.call("DELETE", f"/v1/recordings/{safe}", 404)
    assert {each["recording_id"] for each in answer["sources"]} == {roof}
    assert (await asker.read(session["id"]))["title"] == "When is the roof of the school repaired?"


async def test_a_recording_that_is_deleted_meanwhile_is_in_no_answer(asker: Asker, asking: Running) -> None:
    end_user_id = await asker.device.end_user()
    safe = await asker.recording("Good morning.", SECRET, end_user_id=end_user_id)
    session = await _library(asker, end_user_id)
    gate = Gate("The password of the safe is MAGNOLIA [{MAGNOLIA}].")
    asker.script(gate)
    waiting = asyncio.create_task(asker.ask(session["id"], "What is the password of the safe?", 409))
    await gate.reached.wait()
    await asker.device.call("DELETE", f"/v1/recordings/{safe}", 204)
    gate.opened.set()
    await waiting
    async with asking.ports.database.acquire() as connection:
        assert await connection.fetchval(EVERYTHING, asker.world_id) == 0


async def test_an_answer_ends_when_a_recording_that_it_is_made_from_is_deleted(
    asker: Asker, asking: Running
) -> None:
    """It tells no more of the recording, although its model would go on."""
    safe = await asker.recording("Good morning.", SECRET)
    session = await asker.session(safe)
    gate = Gate("The password of the safe is MAGNOLIA [{MAGNOLIA}].")
    asker.script(gate)
    waiting = asyncio.create_task(asker.ask(session["id"], "What is the password of the safe?", 404))
    await gate.reached.wait()
    await asker.device.call("DELETE", f"/v1/recordings/{safe}", 204)
    await waiting
    assert gate.ended.is_set()
    async with asking.ports.database.acquire() as connection:
        assert await connection.fetchval(EVERYTHING, asker.world_id) == 0


async def test_an_answer_shows_and_keeps_only_what_fitted_into_its_prompt(
    asker: Asker, asking: Running
) -> None:
    """A recording whose text is shown beside an answer takes it along, also if the window was small."""
    end_user_id = await asker.device.end_user()
    names: dict[str, str] = {}
    for place in range(8):
        more = " ".join(f"The safe {place}-{each} has a door and a password." for each in range(12))
        said = f"{SECRET} It is number {place}."
        made = await asker.recording(said, more, end_user_id=end_user_id, name=f"Safe {place}")
        names[made] = f'"Safe {place}"'
    session = await _library(asker, end_user_id)
    model = asker.script(says("The password of the safe is MAGNOLIA [1]."), context_tokens=2700)
    told = await asker.ask(session["id"], "What is the password of the safe?")
    shown = {each["recording_id"] for each in told["sources"]}
    assert 0 < len(shown) < 8
    prompt = model.prompts[0].messages[-1].text
    assert all(names[each] in prompt for each in shown)
    for each in shown:  # of the last one as of the first
        async with asking.ports.database.acquire() as connection:
            made_from = await connection.fetchval(MADE_FROM, asker.world_id, each)
        assert made_from == 1, each
    await asker.device.call("DELETE", f"/v1/recordings/{told['sources'][-1]['recording_id']}", 204)
    assert await asker.messages(session["id"]) == []


async def test_an_answer_that_continues_a_deleted_one_is_not_stored(asker: Asker, asking: Running) -> None:
    end_user_id = await asker.device.end_user()
    await asker.recording(*ROOF, end_user_id=end_user_id)
    door = " ".join(f"Its door {each} is as thick as a wall." for each in range(40))
    safe = await asker.recording(SECRET, door, end_user_id=end_user_id)
    session = await _library(asker, end_user_id)
    asker.script(says("The password of the safe is MAGNOLIA [{MAGNOLIA}]."))
    await asker.ask(session["id"], "What is the password of the safe?")
    gate = Gate("The roof is repaired in May [{repaired}], and MAGNOLIA is the password.")
    narrow = asker.script(gate, context_tokens=1875)  # the safe's passages do not fit
    waiting = asyncio.create_task(asker.ask(session["id"], "When is the roof of the school repaired?", 409))
    await gate.reached.wait()
    passages, earlier, _ = narrow.prompts[0].messages
    assert "MAGNOLIA" not in passages.text
    assert "MAGNOLIA" in earlier.text
    await asker.device.call("DELETE", f"/v1/recordings/{safe}", 204)
    gate.opened.set()
    await waiting
    async with asking.ports.database.acquire() as connection:
        assert await connection.fetchval(EVERYTHING, asker.world_id) == 0


async def test_a_session_about_a_recording_that_is_being_deleted_is_refused(
    asker: Asker, asking: Running
) -> None:
    recording_id = await asker.recording(*ROOF)
    async with asking.ports.database.transaction() as connection:
        await connection.execute(LOCK_TO_DELETE, asker.world_id, recording_id)
        waiting = asyncio.create_task(asker.session(recording_id, 404))
        await until_waiting(asking.ports, 1)
        await connection.execute(DELETE_ROW, asker.world_id, recording_id)
    assert (await waiting)["error"]["code"] == "not_found"


async def test_a_stored_answer_is_not_replayed_after_its_deletion(asker: Asker) -> None:
    end_user_id = await asker.device.end_user()
    safe = await asker.recording("Good morning.", SECRET, end_user_id=end_user_id)
    session = await _library(asker, end_user_id)
    asker.script(says("The password of the safe is MAGNOLIA [{MAGNOLIA}]."))
    path, body = (
        f"/v1/ask/sessions/{session['id']}/messages",
        {"content": "What is the password of the safe?"},
    )
    await asker.device.post(path, 200, body, **{"Idempotency-Key": "once"})
    await asker.device.call("DELETE", f"/v1/recordings/{safe}", 204)
    await asker.device.post(path, 404, body, **{"Idempotency-Key": "once"})


async def test_an_end_user_takes_all_sessions_along(asker: Asker, asking: Running) -> None:
    session = await asker.about_roof()
    end_user_id = session["end_user_id"]
    library = await _library(asker, end_user_id)
    other = await asker.about_roof()
    await asker.device.call("DELETE", f"/v1/end-users/{end_user_id}", 204)
    for each in (session, library):
        await asker.read(each["id"], 404)
    async with asking.ports.database.transaction() as connection:
        assert await erase_some_sessions(connection, asker.world_id, end_user_id, 1) == 1
        assert await erase_some_sessions(connection, asker.world_id, end_user_id, 10) == 1
        assert await erase_some_sessions(connection, asker.world_id, end_user_id, 10) == 0
    await asker.read(other["id"])


@pytest.mark.parametrize("engine", ["model", "extractive"])
async def test_a_secret_of_one_person_reaches_no_other(asker: Asker, engine: str) -> None:
    """Every way to ask for what another person said: answer, sources and prompt have none of it."""
    device = asker.device
    one, other = await device.end_user(), await device.end_user()
    safe = await asker.recording("Good morning.", SECRET, end_user_id=one)
    roof = await asker.recording(*ROOF, end_user_id=other)
    question = "What is the password of the safe?"
    scoped = bearer(await make_key(asker.ports, asker.world_id, "rk_test", scopes=SCOPES, end_user_id=other))
    model = asker.script(says("The password of the safe is MAGNOLIA [1] [2] [3]."))
    if engine == "extractive":
        asker.models.of_world.pop(asker.world_id)
    first = {"initial_message": {"content": question}}

    async def make(expect: int, scope: Json, headers: dict[str, str], **more: Any) -> Json:
        return await device.post("/v1/ask/sessions", expect, {"scope": scope, **first, **more}, **headers)

    for headers, owner in (({}, {"end_user_id": other}), (scoped, {}), (scoped, {"end_user_id": other})):
        for scope in (
            {"type": "recording", "recording_id": safe},
            {"type": "selected", "recording_ids": [safe]},
            {"type": "selected", "recording_ids": [roof, safe]},
        ):
            await make(404, scope, headers, **owner)
        for scope in (
            {"type": "library"},
            {"type": "library", "recording_ids": [safe], "recording_id": safe},
            {"type": "selected", "recording_ids": [roof]},
            {"type": "recording", "recording_id": roof},
        ):
            answer = await make(201, scope, headers, **owner)
            assert "MAGNOLIA" not in str(answer["sources"])
            cited = {each.get("recording_id") for each in answer["message"]["parts"]} - {None}
            assert cited <= {roof}
            if not cited:
                assert "MAGNOLIA" not in answer["message"]["content"]
    await make(404, {"type": "library"}, scoped, end_user_id=one)
    assert not [each for each in model.prompts if "MAGNOLIA" in str(each.messages)]
    theirs = await asker.session(safe)
    for method, tail in (
        ("GET", ""),
        ("GET", "/messages"),
        ("GET", "/messages/stream"),
        ("POST", "/messages/stop"),
        ("DELETE", ""),
    ):
        await device.call(method, f"/v1/ask/sessions/{theirs['id']}{tail}", 404, None, **scoped)
    await device.call("PATCH", f"/v1/ask/sessions/{theirs['id']}", 404, {"title": "x"}, **scoped)
    path = f"/v1/ask/sessions/{theirs['id']}/messages"
    await device.post(path, 404, {"content": question}, **scoped)
