"""A summary that lacks something says so, and one that has nothing fails."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.recordings.support import Json
from tests.summaries.support import MEETING, Desk, ScriptedModel, entry, general

SOAP = ["subjective", "objective", "assessment", "plan"]
VISIT = (
    ("SPEAKER_0", "Good morning, the headaches are back since Monday, and the tablets do not help."),
    ("SPEAKER_1", "Your blood pressure is 150 over 95 today."),
    ("SPEAKER_1", "We raise the ramipril to ten milligrams and see you in two weeks."),
)
BODY = "SELECT convert_from(body, 'UTF8') FROM events WHERE resource_id = $1 AND type = $2"


def empty_field(name: str) -> Json:
    """The warning about a field."""
    message = f"`{name}` is empty: nothing was found for it in the transcript."
    return {"code": "empty_field", "message": message, "field": name}


def fields_named(summary: Json) -> list[str]:
    """The empty fields that the warnings of a summary name, in order."""
    return [each["field"] for each in summary["warnings"] if each["code"] == "empty_field"]


def soap(**fields: object) -> str:
    """The answer of a model for `clinical_soap`."""
    return json.dumps({**{name: entry(None) for name in SOAP}, **fields})


async def own_template(desk: Desk, properties: Json, required: list[str]) -> str:
    """The id of a template of the project."""
    schema = {"type": "object", "properties": properties, "required": required}
    body = {"name": "Visit", "instructions": "Write down the visit.", "schema": schema}
    return (await desk.post("/v1/summary-templates", 201, body))["id"]


@pytest.mark.parametrize(
    ("template", "filled", "empty"),
    [
        ("general_notes", {"overview", "participants", "action_items", "decisions", "key_points"}, set()),
        (
            "sales_call",
            {"next_steps", "key_quotes", "pain_points", "budget", "timeline"},
            {"sentiment", "deal_probability"},
        ),
        ("legal_memo", {"facts", "issues"}, {"analysis", "conclusion", "parties_involved"}),
    ],
)
async def test_what_sentences_fill_and_what_they_leave_empty(
    desk: Desk, template: str, filled: set[str], empty: set[str]
) -> None:
    talk = (*MEETING, ("SPEAKER_0", "The late sensors are a problem, because the budget ends next month."))
    made = await desk.summary(talk, template=template)
    assert made["status"] == "completed"
    said = " ".join(text for _, text in talk)
    for name in filled:
        value = made["output"][name]
        assert value, name
        texts = value if isinstance(value, list) else value.split(". ")
        assert all(each.rstrip(".") in said or each.startswith("SPEAKER_") for each in texts), name
    assert set(fields_named(made)) == empty
    assert all(made["output"][name] in (None, []) for name in empty)


async def test_sentences_fill_no_clinical_note(desk: Desk) -> None:
    made = await desk.summary(VISIT, template="clinical")
    assert (made["status"], made["output"], made["warnings"]) == ("failed", None, [])
    assert made["error"] == {
        "code": "processing_error",
        "message": "No sentence of the transcript fills a field of this template (`subjective`, `objective`, "
        "`assessment`, `plan`). It needs a language model, and none is configured for this provider. "
        "Configure one, or use a template with a text `overview`: sentences always fill it.",
    }


async def test_a_model_that_finds_nothing_fails_it(desk: Desk) -> None:
    made = await desk.summary(VISIT, answers=[soap()], template="clinical")
    assert (made["status"], made["error"]["code"]) == ("failed", "provider_error")
    assert "found nothing in the transcript for this template (`subjective`," in made["error"]["message"]
    made = await desk.summary(VISIT, answers=[soap(plan=entry("Penguins on ice.", 2))], template="clinical")
    assert (made["status"], made["error"]["code"]) == ("failed", "provider_error")
    assert "1 unsupported entries of the model were left out" in made["error"]["message"]


async def test_empty_fields_are_named_everywhere(desk: Desk) -> None:
    answer = soap(objective=entry("The blood pressure is 150 over 95.", 1))
    made = await desk.summary(VISIT, answers=[answer], template="clinical")
    wanted = [empty_field(name) for name in ("subjective", "assessment", "plan")]
    assert (made["status"], made["warnings"]) == ("completed", wanted)
    listed = (await desk.call("GET", f"/v1/summaries?recording_id={made['recording_id']}", 200))["data"]
    assert [each["warnings"] for each in listed] == [wanted]
    data: Json = json.loads(await desk.value(BODY, made["id"], "summary.completed"))["data"]
    assert data["warnings"] == data["summary"]["warnings"] == wanted
    started: Json = json.loads(await desk.value(BODY, made["id"], "summary.started"))["data"]
    assert started["warnings"] == []


@pytest.mark.parametrize("answered", [False, True], ids=["extractive", "model"])
async def test_a_schema_whose_required_fields_are_empty(desk: Desk, answered: bool) -> None:
    text: Json = {"type": "string"}
    drug = {"type": "object", "properties": {"name": text}, "required": ["name"]}
    properties: Json = {
        "medications": {"type": "array", "items": drug},
        "overview": text,
        "allergies": {"type": ["string", "null"]},
        "weather": {"type": ["string", "null"]},
    }
    template = await own_template(desk, properties, ["medications", "overview", "allergies"])
    answer = {
        "medications": [],
        "overview": entry("The headaches are back since Monday.", 0),
        "allergies": entry(None),
        "weather": entry(None),
    }
    made = await desk.summary(VISIT, answers=[json.dumps(answer)] if answered else None, template_id=template)
    assert made["status"] == "completed"
    assert made["warnings"] == [empty_field("medications"), empty_field("allergies")]


async def test_empty_fields_within_others_are_named_by_their_path(desk: Desk) -> None:
    text: Json = {"type": "string"}
    maybe: Json = {"type": ["string", "null"]}
    drug = {"type": "object", "properties": {"name": text, "dose": maybe, "note": maybe}}
    vitals = {"type": "object", "properties": {"pressure": text, "pulse": text}}
    properties: Json = {
        "medications": {"type": "array", "items": {**drug, "required": ["name", "dose"]}},
        "vitals": {**vitals, "required": ["pressure", "pulse"]},
    }
    template = await own_template(desk, properties, ["medications", "vitals"])
    answer = {
        "medications": [
            entry({"name": "ramipril", "dose": "ten milligrams", "note": None}, 2),
            entry({"name": "ramipril", "dose": " ", "note": None}, 2),
            entry({"name": "tablets", "dose": None, "note": None}, 0),
        ],
        "vitals": entry({"pressure": "150 over 95", "pulse": ""}, 1),
    }
    made = await desk.summary(VISIT, answers=[json.dumps(answer)], template_id=template)
    assert made["status"] == "completed", made
    assert made["warnings"] == [empty_field("medications.dose"), empty_field("vitals.pulse")]


@pytest.mark.parametrize(
    ("properties", "answer"),
    [
        ({"subjective": {"type": "string"}}, {"subjective": entry("", 0)}),
        ({"subjective": {"type": "string"}}, {"subjective": entry("Penguins on ice.", 0)}),
        ({"drugs": {"type": "array", "items": {"type": "string"}}}, {"drugs": []}),
        ({"subjective": {"type": ["string", "null"]}}, {"subjective": entry(None)}),
    ],
)
async def test_a_schema_of_which_nothing_was_found_fails(desk: Desk, properties: Json, answer: Json) -> None:
    template = await own_template(desk, properties, list(properties))
    made = await desk.summary(VISIT, answers=[json.dumps(answer)], template_id=template)
    assert (made["status"], made["error"]["code"]) == ("failed", "provider_error")


async def test_zero_and_false_are_no_empty_values(desk: Desk) -> None:
    properties: Json = {"pills": {"type": "integer"}, "fever": {"type": "boolean"}}
    template = await own_template(desk, properties, list(properties))
    answer = json.dumps({"pills": entry(0, 0), "fever": entry(False, 0)})
    made = await desk.summary(VISIT, answers=[answer], template_id=template)
    assert (made["status"], made["warnings"]) == ("completed", [])


async def test_unsupported_entries_are_counted(desk: Desk) -> None:
    answer = general(
        key_points=[entry("Penguins like ice.", 2), entry("Sensors come two weeks late.", 1)],
        action_items=[entry("Penguins hold a conference.", 3)],
        participants=[entry("SPEAKER_0", 0)],
        decisions=[entry("They keep the old sensors for the first 500 units.", 2)],
    )
    made = await desk.summary(answers=[answer])
    assert made["warnings"] == [
        empty_field("action_items"),
        {
            "code": "unsupported_entries_left_out",
            "message": "2 entries were left out, because the transcript does not support what the model "
            "wrote.",
            "count": 2,
        },
    ]


async def test_entries_of_all_parts_are_counted(desk: Desk) -> None:
    said = [("SPEAKER_0", f"Point {n}: the pump number {n} in hall {n % 7} leaks again.") for n in range(900)]

    def answer(prompt: Any) -> str:
        return general(
            overview=entry("The pumps in the halls leak.", 1),
            key_points=[entry("The pump in the hall leaks.", 1), entry("Penguins like ice.", 1)],
        )

    transcription_id = await desk.transcribed(said)

    async def counts(context_tokens: int) -> tuple[list[int], int]:
        model = desk.models.model = ScriptedModel([answer], context_tokens=context_tokens)
        made = await desk.worked((await desk.ask(transcription_id))["id"])
        return [each["count"] for each in made["warnings"] if "count" in each], len(model.prompts)

    assert await counts(100_000) == ([1], 1)
    by_parts, calls = await counts(12_000)
    assert calls > 3
    assert by_parts == [calls]


async def test_a_prompts_object_with_empty_values(desk: Desk) -> None:
    prompt = 'Return JSON: {"risks": [], "owner": ""}'

    def shaped(**values: object) -> str:
        return json.dumps({"content": entry(json.dumps(values), 1)})

    made = await desk.summary(answers=[shaped(risks=["late sensors"], owner="")], prompt=prompt)
    assert (made["status"], made["warnings"]) == ("completed", [empty_field("owner")])
    made = await desk.summary(answers=[shaped(risks=[], owner="")], prompt=prompt)
    assert (made["status"], made["error"]["code"]) == ("failed", "provider_error")


async def test_characters_that_cannot_be_stored_are_left_out(desk: Desk) -> None:
    """A model names a field with a zero byte, which PostgreSQL would not take in the message of a failure."""
    prompt = 'Return JSON: {"risks": []}'

    def shaped(**values: object) -> str:
        return json.dumps({"content": entry(json.dumps(values), 1)})

    made = await desk.summary(answers=[shaped(**{"ri\0sks": None})], prompt=prompt)
    assert (made["status"], made["error"]["code"]) == ("failed", "provider_error")
    assert "`risks`" in made["error"]["message"]
    made = await desk.summary(answers=[shaped(risks=["late\u202e \x9b31msensors\0"])], prompt=prompt)
    assert made["output"]["risks"] == ["late 31msensors"]


async def test_nested_texts_of_a_template_are_cleaned_too(desk: Desk) -> None:
    item: Json = {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}
    template = await own_template(desk, {"delays": {"type": "array", "items": item}}, ["delays"])
    text = "The supplier in Graz delivers the sensors two weeks late.\0\x9b"
    answer = json.dumps({"delays": [entry({"what": text}, 1)]})
    made = await desk.summary(answers=[answer], template_id=template)
    assert made["output"]["delays"] == [{"what": text[:-2]}]


async def test_a_failed_summary_replaces_none(desk: Desk) -> None:
    good = await desk.summary(
        VISIT, answers=[soap(plan=entry("They raise the ramipril to 10 milligrams.", 2))], template="clinical"
    )
    desk.models.model = None
    await desk.worked((await desk.ask(good["transcription_id"], template="clinical"))["id"])
    path = f"/v1/summaries?transcription_id={good['transcription_id']}"
    listed = (await desk.call("GET", path, 200))["data"]
    assert [each["status"] for each in listed] == ["failed", "completed"]
