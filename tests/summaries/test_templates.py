"""The templates of projects: versions, limits of schemas, deletion."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.summaries.support import Desk, ScriptedModel, entry

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "risks": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
        "grade": {"enum": ["good", "bad"]},
    },
    "required": ["risks"],
}
# Sentences can fill a field of it.
WITH_DECISIONS = {
    **SCHEMA,
    "properties": {**SCHEMA["properties"], "decisions": {"type": "array", "items": {"type": "string"}}},
}
PATH = "/v1/summary-templates"


async def template(desk: Desk, **changes: Any) -> dict[str, Any]:
    """A new template."""
    body = {"name": "Risks", "instructions": "Name the risks.", "schema": SCHEMA, **changes}
    return await desk.post(PATH, 201, body)


async def test_a_template_is_made_changed_listed_and_deleted(desk: Desk) -> None:
    made = await template(desk, description="For the board")
    assert (made["version"], made["built_in"], made["schema"]) == (1, False, SCHEMA)
    one = f"{PATH}/{made['id']}"
    changed = await desk.call("PATCH", one, 200, {"instructions": "Name the risks briefly."})
    assert (changed["version"], changed["name"]) == (2, "Risks")
    assert (await desk.call("PATCH", one, 200, {"name": "Risks"}))["version"] == 2
    assert (await desk.call("PATCH", one, 200, {"description": None}))["description"] is None
    page = await desk.call("GET", f"{PATH}?limit=2", 200)
    assert [each["id"] for each in page["data"]] == [made["id"], "tmpl_sales_call"]
    rest = await desk.call("GET", f"{PATH}?cursor={page['next_cursor']}", 200)
    assert [each["name"] for each in rest["data"]] == ["legal_memo", "general_notes", "clinical_soap"]
    assert [each["id"] for each in (await desk.call("GET", f"{PATH}?offset=3", 200))["data"]] == [
        "tmpl_general_notes",
        "tmpl_clinical_soap",
    ]
    await desk.call("DELETE", one, 204)
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        await desk.call(method, one, 404, body)


async def test_changes_at_the_same_time_come_one_after_the_other(desk: Desk) -> None:
    """The one that waited for the other's row finds it, in its new version."""
    one = f"{PATH}/{(await template(desk))['id']}"
    changes = [{"instructions": f"Name risk {number}."} for number in range(6)]
    changed = await asyncio.gather(*[desk.call("PATCH", one, 200, change) for change in changes])
    assert sorted(each["version"] for each in changed) == [2, 3, 4, 5, 6, 7]


async def test_built_in_templates_can_be_read_and_not_changed(desk: Desk) -> None:
    one = f"{PATH}/tmpl_general_notes"
    assert (await desk.call("GET", one, 200))["built_in"]
    assert (await desk.call("PATCH", one, 409, {"name": "mine"}))["error"]["code"] == "conflict"
    assert (await desk.call("DELETE", one, 409))["error"]["code"] == "conflict"


async def test_a_summary_is_made_with_the_version_that_it_found(desk: Desk) -> None:
    made = await template(desk)
    transcription_id = await desk.transcribed()
    asked = await desk.ask(transcription_id, template_id=made["id"])
    await desk.call("PATCH", f"{PATH}/{made['id']}", 200, {"instructions": "Write a poem."})
    model = ScriptedModel(
        [json.dumps({"risks": [entry("The supplier delivers two weeks late.", 1)], "grade": entry(None)})]
    )
    desk.models.model = model
    shown = await desk.worked(asked["id"])
    assert (shown["template_version"], shown["template"]) == (1, None)
    assert shown["output"]["risks"] == ["The supplier delivers two weeks late."]
    assert "grade" not in shown["output"]
    assert "Name the risks." in model.prompts[0].instructions
    later = await desk.ask(transcription_id, template_id=made["id"])
    assert later["template_version"] == 2


async def test_an_answer_that_does_not_match_the_schema_gets_one_repair(desk: Desk) -> None:
    made = await template(desk)
    four = [entry(f"The supplier in Graz is late, again and again {'!' * each}", 1) for each in range(4)]
    many = json.dumps({"risks": [*four[:3], entry("sensors", 1)], "grade": entry("good", 1)})
    good = json.dumps({"risks": four[:2], "grade": entry("good", 1)})
    model = ScriptedModel(['{"risks": []}', good])
    desk.models.model = model
    shown = await desk.worked((await desk.ask(await desk.transcribed(), template_id=made["id"]))["id"])
    assert (len(shown["output"]["risks"]), shown["output"]["grade"]) == (2, "good")
    assert len(model.prompts) == 2
    desk.models.model = ScriptedModel([many])
    shown = await desk.worked((await desk.ask(shown["transcription_id"], template_id=made["id"]))["id"])
    assert len(shown["output"]["risks"]) == 3


async def test_without_a_model_it_has_what_sentences_can_fill(desk: Desk) -> None:
    made = await template(desk, schema=WITH_DECISIONS)
    shown = await desk.worked((await desk.ask(await desk.transcribed(), template_id=made["id"]))["id"])
    assert (shown["status"], shown["model"]) == ("completed", "extractive")
    assert (shown["output"]["risks"], len(shown["output"]["decisions"])) == ([], 1)
    assert [each["field"] for each in shown["warnings"]] == ["risks"]
    made = await template(desk)
    shown = await desk.worked((await desk.ask(shown["transcription_id"], template_id=made["id"]))["id"])
    assert (shown["status"], shown["error"]["code"]) == ("failed", "processing_error")
    assert "fills a field of this template (`risks`)" in shown["error"]["message"]
    needs = await template(desk, schema={**SCHEMA, "required": ["risks", "grade"]})
    shown = await desk.worked((await desk.ask(shown["transcription_id"], template_id=needs["id"]))["id"])
    assert (shown["status"], shown["error"]["code"]) == ("failed", "processing_error")
    assert "needs a language model" in shown["error"]["message"]
    assert '`grade` must be "good" or "bad", and is null.' in shown["error"]["message"]
    optional = await template(
        desk, schema={**SCHEMA, "properties": {"grade": {"type": "integer"}}, "required": []}
    )
    shown = await desk.worked((await desk.ask(shown["transcription_id"], template_id=optional["id"]))["id"])
    assert (shown["status"], shown["error"]["code"]) == ("failed", "processing_error")
    assert "fills a field of this template (`grade`)" in shown["error"]["message"]


async def test_the_template_of_the_page_works_without_a_model(desk: Desk) -> None:
    page = (Path(__file__).parents[2] / "docs" / "summaries.md").read_text()
    printed = re.search(r"post /summary-templates '(.*?)'", page, re.DOTALL)
    assert printed
    made = await desk.post(PATH, 201, json.loads(printed[1]))
    shown = await desk.worked((await desk.ask(await desk.transcribed(), template_id=made["id"]))["id"])
    assert (shown["status"], shown["model"]) == ("completed", "extractive")
    assert shown["output"]["overview"]
    assert [each["field"] for each in shown["warnings"]] == ["defects"]


async def test_a_required_text_needs_a_sentence_with_a_word_of_its_description(desk: Desk) -> None:
    text = {"type": "string"}
    properties = {"weather": text, "delays": {**text, "description": "Why the supplier is late"}}
    made = await template(
        desk, schema={"type": "object", "properties": properties, "required": [*properties]}
    )
    shown = await desk.worked((await desk.ask(await desk.transcribed(), template_id=made["id"]))["id"])
    assert (shown["status"], shown["output"]["weather"]) == ("completed", "")
    assert "The supplier in Graz delivers the sensors two weeks late." in shown["output"]["delays"]


async def test_summaries_under_way_fail_when_their_template_is_deleted(desk: Desk) -> None:
    made = await template(desk, schema=WITH_DECISIONS)
    transcription_id = await desk.transcribed()
    finished = await desk.worked((await desk.ask(transcription_id, template_id=made["id"]))["id"])
    asked = await desk.ask(transcription_id, template_id=made["id"])
    await desk.call("DELETE", f"{PATH}/{made['id']}", 204)
    shown = await desk.worked(asked["id"])
    assert (shown["status"], shown["error"]["code"]) == ("failed", "template_not_found")
    assert (await desk.get(finished["id"]))["status"] == "completed"
    refused = await desk.ask(transcription_id, 400, template_id=made["id"])
    assert refused["error"]["param"] == "template_id"


def nested(levels: int) -> dict[str, Any]:
    """Objects in one another."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def of(schema: object) -> dict[str, Any]:
    """An object with one property."""
    return {"type": "object", "properties": {"a": schema}}


@pytest.mark.parametrize(
    ("schema", "param"),
    [
        ({"type": "array", "items": {"type": "string"}}, "schema"),
        ({"type": "object"}, "schema"),
        ({}, "schema"),
        (nested(5), "schema.properties.a.properties.a.properties.a.properties.a"),
        (nested(400), "schema.properties.a.properties.a.properties.a.properties.a"),
        (of({"$ref": "#/$defs/a"}), "schema.properties.a"),
        ({**of({"type": "string"}), "$defs": {}}, "schema"),
        (of({"type": "string", "pattern": "(a+)+$"}), "schema.properties.a"),
        (of({"oneOf": [{"type": "string"}]}), "schema.properties.a"),
        (of({"type": ["string", "number"]}), "schema.properties.a"),
        (of({"type": "strange"}), "schema.properties.a"),
        (of({"type": "array"}), "schema.properties.a"),
        (of("string"), "schema.properties.a"),
        (of({"type": "object", "properties": {}}), "schema.properties.a"),
        (of({"enum": [str(each) for each in range(101)]}), "schema.properties.a.enum"),
        (of({"enum": [{"a": 1}]}), "schema.properties.a.enum"),
        (of({"enum": ["x" * 201]}), "schema.properties.a.enum"),
        (of({"type": "string", "default": nested(100)}), "schema.properties.a.default"),
        (of({"type": "string", "maxLength": -1}), "schema.properties.a.maxLength"),
        (of({"type": "number", "minimum": 1e300}), "schema.properties.a.minimum"),
        ({**of({"type": "string"}), "additionalProperties": True}, "schema.additionalProperties"),
        ({**of({"type": "string"}), "required": ["b"]}, "schema.required"),
        ({"type": "object", "properties": {"a b": {"type": "string"}}}, "schema.properties"),
        ({"type": "object", "properties": {"evidence": {"type": "string"}}}, "schema.properties.evidence"),
        (
            {"type": "object", "properties": {f"p{each}": {"type": "string"} for each in range(101)}},
            "schema",
        ),
        (of({"type": "string", "description": "x" * 40_000}), "schema"),
        (of({"enum": []}), "schema.properties.a.enum"),
        (of({"type": "number", "enum": ["one"]}), "schema.properties.a.enum"),
        (of({"enum": ["a", "b"], "maxLength": 0}), "schema.properties.a.enum"),
        (of({"enum": ["a"], "const": "b"}), "schema.properties.a.enum"),
        (of({"type": "integer", "const": 1.5}), "schema.properties.a.const"),
        (of({"type": "string", "minLength": 3, "maxLength": 2}), "schema.properties.a.minLength"),
        (
            of({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 1}),
            "schema.properties.a.minItems",
        ),
        (of({"type": "number", "minimum": 2, "maximum": 1}), "schema.properties.a.minimum"),
        (of({"type": "number", "minimum": 1, "exclusiveMaximum": 1}), "schema.properties.a.minimum"),
        (of({"type": "integer", "minimum": 0.2, "maximum": 0.8}), "schema.properties.a.minimum"),
        (
            of({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2}),
            "schema.properties.a.exclusiveMinimum",
        ),
    ],
)
async def test_a_hostile_schema_is_refused_at_its_place(
    desk: Desk, schema: dict[str, Any], param: str
) -> None:
    body = {"name": "x", "instructions": "x", "schema": schema}
    error = (await desk.post(PATH, 400, body))["error"]
    assert (error["code"], error["param"]) == ("invalid_request", param)
    assert error["details"][0]["field"] == param
    assert error["details"][0]["reason"]


async def test_bounds_and_choices_that_values_match_are_taken(desk: Desk) -> None:
    properties = {
        "a": {"type": "integer", "minimum": 1, "maximum": 1},
        "b": {"type": ["integer", "null"], "exclusiveMinimum": 1, "exclusiveMaximum": 3},
        "c": {"type": ["string", "null"], "enum": [None, "yes"]},
        "d": {"type": "array", "items": {"const": "x"}, "minItems": 1, "maxItems": 1},
        "e": {"type": "number", "minimum": 0, "exclusiveMinimum": 0, "maximum": 1e-9},
    }
    await template(desk, schema={"type": "object", "properties": properties})


@pytest.mark.parametrize("name", [" ", "\u200b\u3000", "a\nb", "Risks\x1b[31m", "a\u2028b", "\x7f"])
async def test_a_name_that_cannot_be_read_is_refused(desk: Desk, name: str) -> None:
    made = await template(desk, name="Risks \N{ZERO WIDTH JOINER}2")
    for method, path in (("POST", PATH), ("PATCH", f"{PATH}/{made['id']}")):
        body = {"name": name, "instructions": "x", "schema": SCHEMA}
        error = (await desk.call(method, path, 400, body))["error"]
        assert (error["code"], error["param"]) == ("invalid_request", "name")
