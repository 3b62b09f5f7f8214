"""Summaries over HTTP: asked for, made, listed, replaced, erased."""

from __future__ import annotations

import json

from tests.recordings.support import events_of
from tests.summaries.support import MEETING, Desk, entry, general
from tests.support.tenants import bearer, make_key

KEYS = {
    "id", "project_id", "recording_id", "transcription_id", "status", "template_id", "template",
    "template_version", "custom_prompt", "provider", "model", "output", "error", "error_message",
    "started_at", "completed_at", "created_at", "updated_at", "warnings",
}  # fmt: skip


async def test_a_new_one_is_pending_and_has_every_field(desk: Desk) -> None:
    transcription_id = await desk.transcribed()
    made = await desk.ask(transcription_id, template="general")
    assert set(made) == KEYS
    assert (made["status"], made["output"], made["started_at"]) == ("pending", None, None)
    assert made["warnings"] == []
    assert (made["template_id"], made["template"]) == ("tmpl_general_notes", "general_notes")
    assert (made["provider"], made["model"], made["custom_prompt"]) == ("gemini", None, None)
    assert made["project_id"] == desk.tenant.project_id
    assert await desk.get(made["id"]) == made


async def test_a_model_makes_it_with_evidence_and_each_event_comes_once(desk: Desk) -> None:
    answer = general(
        key_points=[entry("The supplier in Graz delivers sensors two weeks late.", 1)],
        action_items=[entry("SPEAKER_1 calls the supplier by Friday.", 3)],
    )
    made = await desk.summary(answers=[answer], provider="claude")
    assert (made["status"], made["provider"], made["model"]) == ("completed", "claude", "scripted-1")
    output = made["output"]
    assert output["key_points"] == ["The supplier in Graz delivers sensors two weeks late."]
    assert output["evidence"]["key_points"] == [[{"start_ms": 4000, "end_ms": 7500}]]
    # "Good morning." is not part of it.
    assert output["evidence"]["overview"] == [[{"start_ms": 645, "end_ms": 7500}]]
    assert output["evidence"]["decisions"] == []
    told = await events_of(desk.ports, desk.tenant.test_world, made["id"])
    assert told == ["summary.started", "summary.completed"]
    left = "SELECT count(*) FROM summary_work WHERE world_id = $1"
    assert await desk.value(left, desk.tenant.test_world) == 0


async def test_without_a_model_sentences_of_the_transcript_are_it(desk: Desk) -> None:
    made = await desk.summary()
    output = made["output"]
    assert (made["status"], made["model"], made["provider"]) == ("completed", "extractive", "gemini")
    said = [text for _, text in MEETING]
    assert output["participants"] == ["SPEAKER_0", "SPEAKER_1"]
    assert MEETING[3][1] in output["action_items"]
    assert output["decisions"] == ["Then we have decided to keep the old sensors for the first 500 units."]
    assert output["overview"]
    assert all(any(point in text for text in said) for point in output["key_points"])
    assert [len(output["evidence"][name]) for name in ("key_points", "decisions")] == [
        len(output["key_points"]),
        1,
    ]


async def test_a_prompt_is_answered_as_markdown(desk: Desk) -> None:
    prompt = "  What about the customers in Norway?\n"
    made = await desk.summary(prompt=prompt)
    assert (made["template_id"], made["template"], made["custom_prompt"]) == (None, None, prompt)
    assert "Marta will write to the customers in Norway tomorrow." in made["output"]["content"]


async def test_a_prompt_that_names_a_shape_gets_this_shape(desk: Desk) -> None:
    shaped = json.dumps({"content": entry(json.dumps({"risks": ["late sensors"]}), 1)})
    made = await desk.summary(answers=[shaped], prompt='Return JSON: {"risks": ["…"]}')
    assert made["output"]["risks"] == ["late sensors"]
    assert "content" not in made["output"]


async def test_exactly_one_of_template_and_prompt_is_given(desk: Desk) -> None:
    transcription_id = await desk.transcribed()
    path, body = "/v1/summaries", {"transcription_id": transcription_id}
    for wrong, param in (
        ({}, "template_id"),
        ({"template_id": "tmpl_general_notes", "prompt": "Write a poem, please."}, "prompt"),
        ({"template_id": "tmpl_general_notes", "template": "sales"}, "template"),
        ({"template_id": "tmpl_unknown"}, "template_id"),
        ({"template": "poem"}, "template_id"),
        ({"prompt": "too short"}, "prompt"),
        ({"prompt": "\U0001f5a8" * 4 + "!"}, "prompt"),
        ({"prompt": "x" * 10_001}, "prompt"),
        ({"template": "sales", "provider": "whisper"}, "provider"),
    ):
        refused = await desk.post(path, 400, {**body, **wrong})
        assert (refused["error"]["code"], refused["error"]["param"]) == ("invalid_request", param), wrong


async def test_the_shortest_prompt_is_counted_in_utf16_units(desk: Desk) -> None:
    prompt = "\U0001f5a8" * 5
    body = {"transcription_id": await desk.transcribed(), "prompt": prompt}
    assert (await desk.post("/v1/summaries", 201, body))["custom_prompt"] == prompt


async def test_a_transcription_that_is_not_completed_has_no_summary(desk: Desk) -> None:
    recording_id, _ = await desk.upload(b"OggS" + bytes(100))
    made = await desk.post("/v1/transcriptions", 201, {"recording_id": recording_id})
    assert (await desk.ask(made["id"], 409))["error"]["code"] == "transcript_not_ready"
    unknown = await desk.ask("txn_" + "a" * 24, 404)
    assert unknown["error"]["code"] == "not_found"


async def test_fewer_than_three_words_are_too_short(desk: Desk) -> None:
    for said in ((), ((None, "Hello."),)):
        made = await desk.summary(said)
        assert (made["status"], made["error"]["code"]) == ("failed", "transcript_too_short")
        assert made["error_message"] == made["error"]["message"]
    told = await events_of(desk.ports, desk.tenant.test_world, made["id"])
    assert told == ["summary.started", "summary.failed"]


async def test_chinese_without_spaces_is_not_too_short(desk: Desk) -> None:
    made = await desk.summary([("SPEAKER_0", "我们决定下周发布新产品。请在周五之前联系供应商。")])
    assert made["status"] == "completed"
    assert made["output"]["decisions"] == ["我们决定下周发布新产品。"]


async def test_a_newer_one_of_the_same_template_replaces_it_when_it_completes(desk: Desk) -> None:
    transcription_id = await desk.transcribed()
    first = await desk.worked((await desk.ask(transcription_id))["id"])
    other = await desk.worked((await desk.ask(transcription_id, template="sales"))["id"])
    second = await desk.ask(transcription_id)
    path = f"/v1/summaries?transcription_id={transcription_id}"
    listed = [each["id"] for each in (await desk.call("GET", path, 200))["data"]]
    assert listed == [second["id"], other["id"], first["id"]]
    await desk.worked(second["id"])
    listed = [each["id"] for each in (await desk.call("GET", path, 200))["data"]]
    assert listed == [second["id"], other["id"]]
    assert (await desk.get(first["id"]))["status"] == "completed"
    recording = f"/v1/summaries?recording_id={second['recording_id']}&limit=1"
    page = await desk.call("GET", recording, 200)
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([second["id"]], True)
    rest = await desk.call("GET", f"{recording}&cursor={page['next_cursor']}", 200)
    assert ([each["id"] for each in rest["data"]], rest["next_cursor"]) == ([other["id"]], None)
    assert (await desk.call("GET", "/v1/summaries?transcription_id=txn_none", 200))["data"] == []


async def test_a_repeated_request_makes_one_summary_and_shows_it_as_it_is(desk: Desk) -> None:
    transcription_id = await desk.transcribed()
    body = {"transcription_id": transcription_id, "template": "legal"}
    first = await desk.post("/v1/summaries", 201, body, **{"Idempotency-Key": "once"})
    await desk.worked(first["id"])
    again = await desk.post("/v1/summaries", 201, body, **{"Idempotency-Key": "once"})
    assert (again["id"], again["status"]) == (first["id"], "completed")


async def test_another_end_users_summary_is_not_there(desk: Desk) -> None:
    owner, other = await desk.end_user(), await desk.end_user()
    transcription_id = await desk.transcribed(end_user_id=owner)
    made = await desk.ask(transcription_id)
    world = desk.tenant.test_world
    theirs, others = [
        bearer(await make_key(desk.ports, world, "rk_test", end_user_id=each)) for each in (owner, other)
    ]
    for headers, status in ((theirs, 200), (others, 404)):
        answer = await desk.client.get(f"/v1/summaries/{made['id']}", headers=headers)
        assert answer.status_code == status
        body = {"transcription_id": transcription_id, "template": "sales"}
        asked = await desk.client.post("/v1/summaries", json=body, headers=headers)
        assert asked.status_code == (201 if status == 200 else 404)
    assert (await desk.client.get("/v1/summaries", headers=others)).json()["data"] == []
    assert len((await desk.client.get("/v1/summaries", headers=theirs)).json()["data"]) == 2


async def test_with_its_recording_everything_of_it_goes(desk: Desk) -> None:
    made = await desk.summary()
    waiting = await desk.ask(made["transcription_id"])
    await desk.call("DELETE", f"/v1/recordings/{made['recording_id']}", 204)
    for each in (made, waiting):
        await desk.call("GET", f"/v1/summaries/{each['id']}", 404)
    while await desk.runner.run():
        pass
    world = desk.tenant.test_world
    for table in ("summaries", "summary_work", "summary_parts"):
        assert await desk.value(f"SELECT count(*) FROM {table} WHERE world_id = $1", world) == 0
    told = "SELECT count(*) FROM events WHERE resource_id = $1 AND NOT erased"
    assert await desk.value(told, made["id"]) == 0
    assert await events_of(desk.ports, world, waiting["id"]) == []
