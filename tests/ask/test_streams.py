"""Answers as server-sent events: growing, followed from elsewhere, stopped, left alone, lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from lapel.foundation.http.strategies.lasting import prefers_events
from tests.ask.conftest import Asker
from tests.ask.scripted import SLICES, Gate, ScriptedModel, models_of, says
from tests.support.event_stream import Sent, following, received, some
from tests.support.patience import LONG, patience
from tests.support.running import Running, running

Json = dict[str, Any]
LOSE = "UPDATE ask_answers SET seen_at = seen_at - interval '1 hour' WHERE world_id = $1"
COUNT = "SELECT count(*) FROM ask_answers WHERE world_id = $1"


@asynccontextmanager
async def asked(asker: Asker, url: str, session_id: str, **more: Any) -> AsyncGenerator[AsyncIterator[Sent]]:
    """The events of the answer to a question."""
    async with (
        httpx.AsyncClient(trust_env=False, timeout=LONG) as client,
        client.stream(
            "POST",
            f"{url}/v1/ask/sessions/{session_id}/messages",
            json={"content": "When is the roof repaired?", "stream": True, **more},
            headers=asker.device.headers,
        ) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        yield received(answer)


async def rest(events: AsyncIterator[Sent]) -> list[Sent]:
    """All events until the end of the stream."""
    return [each async for each in events if each.data is not None]


def text_of(events: list[Sent]) -> str:
    """The text of these events."""
    return "".join(value(each)["text"] for each in events if each.name == "text.delta")


def value(event: Sent) -> Json:
    """The data of an event."""
    assert event.data is not None
    return json.loads(event.data)


async def test_an_answer_streams_as_it_is_made(asker: Asker, asking: Running) -> None:
    gate = Gate("The roof is repa", "ired in May [2].", after=[" It costs 4200 euros [{euros}]."])
    asker.script(gate)
    session = await asker.about_roof()
    async with asked(asker, asking.url, session["id"]) as events:
        assert (await anext(events)).data is None
        first = [await anext(events)]
        while first[-1].name != "citation":
            first.append(await anext(events))
        gate.opened.set()
        second = await rest(events)
    whole = first + second
    assert [each.name for each in (whole[0], whole[-1])] == ["message.start", "message.completed"]
    stored = (await asker.messages(session["id"]))[1]
    assert value(whole[0]) == {"session_id": session["id"], "message_id": stored["id"]}
    assert value(whole[-1]) == {"session_id": session["id"], "message": stored, "sources": []}
    assert text_of(whole) == stored["content"]
    citations = [{"type": "citation", **value(each)} for each in whole if each.name == "citation"]
    assert citations == [each for each in stored["parts"] if each["type"] == "citation"]

    # Every event is a place from which the stream goes on.
    for place, event in enumerate(whole[:-1]):
        path = f"/v1/ask/sessions/{session['id']}/messages/stream"
        headers = {**asker.device.headers, "Last-Event-ID": event.id}
        async with following(asking.url, headers, stream=path) as (_, events):
            assert text_of(whole[: place + 1]) + text_of(await rest(events)) == stored["content"]


async def test_text_without_support_is_never_shown(asker: Asker, asking: Running) -> None:
    asker.script(says("The mayor resigns.", " The mayor resigns [1]."))
    session = await asker.about_roof()
    async with asked(asker, asking.url, session["id"]) as events:
        sent = await rest(events)
    assert "mayor" not in json.dumps([value(each) for each in sent])


async def test_refusals_come_before_the_stream(asker: Asker, asking: Running) -> None:
    session = await asker.session(await asker.device.recording())
    accepting = {"Accept": "text/event-stream"}
    path = f"/v1/ask/sessions/{session['id']}/messages"
    refused = await asker.device.post(path, 409, {"content": "When?"}, **accepting)
    assert refused["error"]["code"] == "transcript_not_ready"
    await asker.device.call("GET", f"{path}/stream", 404)
    await asker.device.call("GET", f"{path}/stream?message_id=msg_1", 404)
    await asker.device.call("GET", f"{path}/stream", 400, None, **{"Last-Event-ID": "7"})


async def test_a_stream_names_unknown_fields_too(asker: Asker, asking: Running) -> None:
    asker.script(says("The roof is repaired in May [2]."))
    session_id = (await asker.about_roof())["id"]
    url = f"{asking.url}/v1/ask/sessions/{session_id}/messages"
    body = {"content": "When is the roof repaired?", "stream": True, "privider": "openai"}
    async with httpx.AsyncClient(trust_env=False, timeout=LONG) as client:
        strict = {**asker.device.headers, "Lapel-Strict": "true"}
        refused = await client.post(url, json=body, headers=strict)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "privider")
        answer = await client.post(url, json=body, headers=asker.device.headers)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["warning"] == '299 lapel "Unknown fields are ignored: privider"'


async def test_the_accept_header_asks_for_a_stream(asker: Asker, asking: Running) -> None:
    asker.script(says("The roof is repaired in May [2]."))
    session = await asker.about_roof()
    async with httpx.AsyncClient(trust_env=False, timeout=LONG) as client:
        answer = await client.post(
            f"{asking.url}/v1/ask/sessions/{session['id']}/messages",
            json={"content": "When?"},
            headers={**asker.device.headers, "Accept": "text/event-stream"},
        )
    assert answer.headers["content-type"] == "text/event-stream"
    assert "event: message.completed" in answer.text


async def test_a_repeated_stream_says_that_it_is_one(asker: Asker, asking: Running) -> None:
    model = asker.script(says("The roof is repaired in May [2]."))
    session = await asker.about_roof()
    headers = {**asker.device.headers, "Accept": "text/event-stream", "Idempotency-Key": "once"}
    path = f"{asking.url}/v1/ask/sessions/{session['id']}/messages"
    async with httpx.AsyncClient(trust_env=False, timeout=LONG, headers=headers) as client:
        first, again = [await client.post(path, json={"content": "When?"}) for _ in range(2)]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    completed = first.text.partition("event: message.completed")
    assert again.text.partition("event: message.completed")[2] == completed[2] != ""
    assert len(model.prompts) == 1


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (b"text/event-stream", True),
        (b"Text/Event-Stream; charset=utf-8, */*;q=0.1", True),
        (b"application/json, text/event-stream", False),
        (b"text/event-stream;q=0, application/json", False),
        (b"text/event-stream;q=x", False),
        (b"*/*", False),
        (b"", False),
    ],
)
def test_who_takes_json_too_gets_json(accept: bytes, wanted: bool) -> None:
    assert prefers_events(accept) is wanted


async def test_an_answer_goes_on_when_its_reader_leaves(asker: Asker, asking: Running) -> None:
    gate = Gate("The roof is repaired in May [2].", after=[" It costs 4200 euros [{euros}]."])
    asker.script(gate)
    session = await asker.about_roof()
    async with asked(asker, asking.url, session["id"]) as events:
        (start,) = await some(events, 1)
    gate.opened.set()
    path, answer_id = f"/v1/ask/sessions/{session['id']}/messages/stream", value(start)["message_id"]
    headers = asker.device.headers
    async with following(asking.url, headers, stream=path, message_id=answer_id) as (_, events):
        sent = await rest(events)
    assert text_of(sent) == "The roof is repaired in May. It costs 4200 euros."
    assert (await asker.messages(session["id"]))[1]["finish_reason"] == "stop"


async def test_an_answer_without_a_stream_goes_on_too(asker: Asker) -> None:
    gate = Gate(after=["The roof is repaired in May [2]."])
    asker.script(gate)
    session = await asker.about_roof()
    waiting = asyncio.create_task(asker.ask(session["id"], "When?"))
    await gate.reached.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    gate.opened.set()
    await asker.answers.drain(10)
    assert len(await asker.messages(session["id"])) == 2


async def test_stop_stores_what_was_said(asker: Asker, asking: Running) -> None:
    gate = Gate("The roof is repaired in May [2]. And", after=["never"])
    asker.script(gate)
    session = await asker.about_roof()
    path = f"/v1/ask/sessions/{session['id']}/messages/stop"
    assert await asker.device.post(path, 200) == {"stopped": False}
    waiting = asyncio.create_task(asker.ask(session["id"], "When?"))
    await gate.reached.wait()
    assert await asker.device.post(path, 200) == {"stopped": True}
    message = (await waiting)["message"]
    assert (message["content"], message["finish_reason"]) == ("The roof is repaired in May.", "length")
    assert message["model"] == "scripted-1"
    assert gate.ended.is_set()
    assert (await asker.messages(session["id"]))[1] == message


async def test_what_had_said_nothing_is_not_stored_when_stopped(asker: Asker) -> None:
    gate = Gate("The mayor resigns")
    asker.script(gate)
    session = await asker.about_roof()
    waiting = asyncio.create_task(asker.ask(session["id"], "When?", 409))
    await gate.reached.wait()
    await asker.device.post(f"/v1/ask/sessions/{session['id']}/messages/stop", 200)
    assert (await waiting)["error"]["code"] == "conflict"
    assert await asker.messages(session["id"]) == []


async def _until_made(asking: Running, world_id: int, count: int) -> None:
    """Returns once so many answers are being made, or wait."""
    async with patience(60):
        while True:
            async with asking.ports.database.acquire() as connection:
                if await connection.fetchval(COUNT, world_id) == count:
                    return
            await asyncio.sleep(0.01)


async def test_another_process_follows_and_stops(asker: Asker, asking: Running, tmp_path: Any) -> None:
    gate = Gate("The roof is repaired in May [2].", after=["never"])
    asker.script(gate)
    session = await asker.about_roof()
    database = asking.ports.database.dsn
    async with running(tmp_path / "other", database, SLICES) as other:
        waiting = asyncio.create_task(asker.ask(session["id"], "When?"))
        await gate.reached.wait()
        path = f"/v1/ask/sessions/{session['id']}/messages"
        async with following(other.url, asker.device.headers, stream=f"{path}/stream") as (_, events):
            while (await anext(events)).name != "citation":
                pass
            async with httpx.AsyncClient(
                base_url=other.url, headers=asker.device.headers, timeout=LONG
            ) as client:
                # At each of the processes, a question waits for its turn.
                later = asker.script(says("It costs 4200 euros [{euros}]."))
                models_of(other.services).of_world[asker.world_id] = later
                second = asyncio.create_task(client.post(path, json={"content": "How much?"}, timeout=LONG))
                third = asyncio.create_task(asker.ask(session["id"], "Who signs?", 409))
                await _until_made(asking, asker.world_id, 3)
                assert (await client.post(f"{path}/stop")).json() == {"stopped": True}
                assert ((await second).status_code, (await third)["error"]["code"]) == (409, "conflict")
            sent = await rest(events)
        assert value(sent[-1])["message"] == (await waiting)["message"]
    assert later.prompts == []
    roles = [each["role"] for each in await asker.messages(session["id"])]
    assert roles == ["user", "assistant"]


async def test_an_answer_whose_process_is_silent_is_given_up(asker: Asker, asking: Running) -> None:
    gate = Gate("The roof is repaired in May [2].", after=[" Yes."])
    asker.script(gate)
    session = await asker.about_roof()
    waiting = asyncio.create_task(asker.ask(session["id"], "When?", 409))
    await gate.reached.wait()
    async with asking.ports.database.acquire() as connection:
        await connection.execute(LOSE, asker.world_id)
    asker.script(says("It costs 4200 euros [{euros}]."))
    await asker.ask(session["id"], "How much?")
    gate.opened.set()
    assert (await waiting)["error"]["code"] == "conflict"
    assert [each["content"] for each in await asker.messages(session["id"])] == [
        "How much?",
        "It costs 4200 euros.",
    ]


async def test_a_session_that_is_deleted_ends_its_answer(asker: Asker, asking: Running) -> None:
    gate = Gate("The roof is repaired in May [2].", after=[" Yes."])
    asker.script(gate)
    session = await asker.about_roof()
    waiting = asyncio.create_task(asker.ask(session["id"], "When?", 404))
    await gate.reached.wait()
    await asker.device.call("DELETE", f"/v1/ask/sessions/{session['id']}", 204)
    gate.opened.set()
    await waiting
    async with asking.ports.database.acquire() as connection:
        assert await connection.fetchval(COUNT, asker.world_id) == 0


async def test_a_server_that_stops_lets_answers_end(asker: Asker, asking: Running, tmp_path: Any) -> None:
    """A stream ends when the server stops, so that nobody waits for its answer."""
    gate = Gate("The roof is repa", after=["ired in May [2]."])
    session = await asker.about_roof()
    async with running(tmp_path / "stopping", asking.ports.database.dsn, SLICES) as other:
        models_of(other.services).of_world[asker.world_id] = ScriptedModel(gate)
        async with asked(asker, other.url, session["id"]) as events:
            await gate.reached.wait()
            other.stop.set()
            await rest(events)
        await asyncio.sleep(0.6)  # longer than a server with nothing to do needs to stop
        gate.opened.set()
    assert (await asker.messages(session["id"]))[1]["content"] == "The roof is repaired in May."


async def test_an_answer_that_outlasts_the_stop_has_failed(
    asker: Asker, asking: Running, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lapel.hosting.api_server.DRAIN", 0.1)
    gate = Gate("The roof is repaired in May [2].", after=["never"])
    session = await asker.about_roof()
    path = f"/v1/ask/sessions/{session['id']}/messages/stream"
    async with running(tmp_path / "stopping", asking.ports.database.dsn, SLICES) as other:
        models_of(other.services).of_world[asker.world_id] = ScriptedModel(gate)
        async with asked(asker, other.url, session["id"]) as events:
            (start,) = await some(events, 1)
            await gate.reached.wait()
            other.stop.set()
            await rest(events)
    assert gate.ended.is_set()
    assert await asker.messages(session["id"]) == []
    answer_id = value(start)["message_id"]
    async with following(asking.url, asker.device.headers, stream=path, message_id=answer_id) as (_, events):
        (failed,) = await rest(events)
    assert (failed.name, value(failed)["error"]["code"]) == ("error", "unavailable")
