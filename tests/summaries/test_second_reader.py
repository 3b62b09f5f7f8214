"""A second reader judges the entries of a summary: what was not said, or not decided, is left out."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from lapel.slices.language_models.service import ModelAway, Prompt
from tests.ask.test_second_reader import claims_of
from tests.recordings.support import Json
from tests.summaries.support import MEETING, Desk, ScriptedModel, entry, general

Verdict = Callable[[str], str]
SAID = "The supplier in Graz delivers the sensors two weeks late."
NOT_DECIDED = "The customers in Norway are told by Marta tomorrow."
DECIDED = "The old sensors stay for the first 500 units."
OTHER_TASK = {"task": "Marta calls the supplier by Friday", "owner": "Marta", "due": "Friday"}


class Reading(ScriptedModel):
    """Answers a summary with the same text, and reads claims. `read`: what it read."""

    reads_claims = True

    def __init__(self, answer: str, verdict: Verdict) -> None:
        super().__init__([self._reply])
        self.reads_claims = True
        self.read: list[str] = []
        self.readings: list[Prompt] = []
        self._answer = answer
        self._verdict = verdict

    def _reply(self, prompt: Prompt) -> str:
        if prompt.name != "judgements":
            return self._answer
        self.readings.append(prompt)
        claims = claims_of(prompt)
        self.read += claims
        cases = [
            {"case": place, "line": 1, "difference": "", "verdict": self._verdict(claim)}
            for place, claim in enumerate(claims, start=1)
        ]
        return json.dumps({"cases": cases})


def refuses(*parts: str, verdict: str = "absent") -> Verdict:
    """A reader that refuses claims with one of these texts."""
    return lambda claim: verdict if any(each in claim for each in parts) else "supported"


async def summary(desk: Desk, model: Reading, **body: object) -> Json:
    """The summary of MEETING by this model."""
    desk.models.model = model
    return await desk.worked((await desk.ask(await desk.transcribed(), **body))["id"])


def left_out(made: Json) -> int:
    """How many entries the warnings tell of."""
    return sum(each.get("count") or 0 for each in made["warnings"])


async def test_an_entry_that_the_reader_refuses_is_left_out_and_counted(desk: Desk) -> None:
    answer = general(key_points=[entry(SAID, 1)], decisions=[entry(NOT_DECIDED, 5), entry(DECIDED, 2)])
    model = Reading(answer, refuses("Norway"))
    made = await summary(desk, model)
    assert made["output"]["decisions"] == [DECIDED]
    assert made["output"]["key_points"] == [SAID]
    assert left_out(made) == 1
    assert f"decisions: {NOT_DECIDED}" in model.read
    assert f"key points: {SAID}" in model.read
    lines = [each.messages[0].text for each in model.readings]
    assert any(MEETING[4][1] in each and MEETING[5][1] in each for each in lines)  # the turns beside it


async def test_without_a_reader_it_stays(desk: Desk) -> None:
    await desk.call("PATCH", "/v1/config/processing", 200, {"second_reader": False})
    model = Reading(general(decisions=[entry(NOT_DECIDED, 5)]), refuses("Norway"))
    made = await summary(desk, model)
    assert made["output"]["decisions"] == [NOT_DECIDED]
    assert model.read == []


async def test_an_overview_loses_the_sentences_that_are_not_supported(desk: Desk) -> None:
    text = "The launch of the thermostat slips to March. The sensors are two weeks early. Norway is told."
    model = Reading(general(overview=entry(text, 0, 1, 5)), refuses("early", verdict="contradicted"))
    made = await summary(desk, model)
    assert made["output"]["overview"] == "The launch of the thermostat slips to March. Norway is told."
    assert left_out(made) == 1


async def test_the_task_its_owner_and_its_end_are_one_claim(desk: Desk) -> None:
    schema = {
        "type": "object",
        "properties": {
            "tasks": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {name: {"type": "string"} for name in OTHER_TASK},
                    "required": list(OTHER_TASK),
                    "additionalProperties": False,
                },
            }
        },
        "required": ["tasks"],
        "additionalProperties": False,
    }
    template = await desk.post(
        "/v1/summary-templates", 201, {"name": "tasks", "instructions": "Write the tasks.", "schema": schema}
    )
    right = {**OTHER_TASK, "task": "call the supplier by Friday", "owner": "SPEAKER_1"}
    answer = json.dumps({"tasks": [entry(OTHER_TASK, 3), entry(right, 3)]})
    model = Reading(answer, refuses("owner: Marta"))
    made = await summary(desk, model, template_id=template["id"])
    assert made["output"]["tasks"] == [right]
    assert "tasks: task: Marta calls the supplier by Friday; owner: Marta; due: Friday" in model.read


async def test_the_reader_keeps_what_was_said_in_other_words(desk: Desk) -> None:
    other = "Component shipment arrives after the agreed day."
    for verdict, kept in ((refuses(), [other]), (refuses("Component"), [])):
        model = Reading(general(key_points=[entry(other, 1)]), verdict)
        assert (await summary(desk, model))["output"]["key_points"] == kept
    never = "Component shipment arrives after 17 days."
    model = Reading(general(key_points=[entry(never, 1)]), refuses())
    assert (await summary(desk, model))["output"]["key_points"] == []
    assert not any("17" in each for each in model.read)


async def test_the_text_of_a_prompt_loses_only_what_is_contradicted(desk: Desk) -> None:
    text = "Dear Marta, thank you. The sensors are two weeks early. Please write to Norway."
    verdicts = {"early": "contradicted", "Dear": "absent"}
    model = Reading(
        json.dumps({"content": entry(text, 1, 5)}),
        lambda claim: next((verdicts[each] for each in verdicts if each in claim), "supported"),
    )
    made = await summary(desk, model, prompt="Write a letter to Marta about this.")
    assert made["output"]["content"] == "Dear Marta, thank you. Please write to Norway."
    assert left_out(made) == 1


@pytest.mark.parametrize("fault", ["away", "nonsense"])
async def test_words_decide_while_the_reader_cannot_read(desk: Desk, fault: str) -> None:
    def fails(_claim: str) -> str:
        if fault == "away":
            raise ModelAway("busy")
        return "perhaps"

    made = await summary(desk, Reading(general(decisions=[entry(DECIDED, 2)]), fails))
    assert made["output"]["decisions"] == [DECIDED]


async def test_many_entries_are_read_in_calls_of_bounded_size(desk: Desk) -> None:
    points = [entry(f"The supplier in Graz is late, as point {chr(97 + at)} says.", 1) for at in range(26)]
    model = Reading(general(key_points=points), refuses())
    made = await summary(desk, model)
    assert len(made["output"]["key_points"]) == 26
    assert len(model.read) == 27
    assert all(len(claims_of(each)) <= 8 for each in model.readings)
