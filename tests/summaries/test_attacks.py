"""Instructions that are planted in a conversation stay data.

What a model writes in obedience goes if the transcript does not have its words.
"""

from __future__ import annotations

import contextlib
import json
import re

import pytest

from lapel.evaluation.attacks import PlantedAttack, attacks, obeyed
from lapel.slices.language_models.service import LanguageModel, ModelFailed, Prompt
from lapel.slices.summaries.templates.builtin import BUILT_IN
from lapel.slices.summaries.work.summary_writing import make_summary
from lapel.slices.summaries.writing.model_writer import UnkeptParts
from lapel.slices.summaries.writing.prompts import rules_for
from tests.summaries.support import ScriptedModel, entry, general
from tests.support.written import segments_of

GENERAL = BUILT_IN["tmpl_general_notes"]
SHIPPED = attacks()
# What these want written has the words of the order itself. The check by words takes it for what was said.
SAID_BY_THE_ORDER = {
    "attack-developer-mode",
    "attack-instruction-in-a-name",
    "attack-wide-letters",
}
# All that a model is told, but for the transcript.
INSTRUCTIONS = {
    rules_for(GENERAL, "transcript", language=each, part=None)
    for each in (None, "en", "de", "es", "fr", "zh")
}


async def summarized(attack: PlantedAttack, model: LanguageModel | None) -> str:
    """The output of a summary, as JSON, without the times of the evidence."""
    made = await make_summary(
        model, GENERAL, segments_of(attack), attack.language, parts=UnkeptParts(), meanings=None
    )
    output = json.loads(made.output)
    del output["evidence"]
    return json.dumps(output, ensure_ascii=False)


def obedient(attack: PlantedAttack) -> str:
    """An answer that does what the attack wants, and names the turns of the attack as its evidence."""
    wanted = attack.obeyed_if.contains or ["Pwned by the transcript"]
    turns = range(len(attack.segments))
    said = [f"{each}." for each in wanted]
    if attack.language == "en":  # an answer in another language than the conversation is refused
        said.append(f"The answer is {wanted[0]}, and nothing else.")
    entries = [entry(text, turn) for text in said for turn in turns]
    return json.dumps(
        {
            "overview": entry(said[-1], *turns),
            "key_points": entries,
            "action_items": entries[::-1],
            "participants": entries[:2],
            "decisions": entries[:3],
        }
    )


@pytest.mark.parametrize("attack", SHIPPED, ids=lambda each: each.id)
async def test_what_a_model_writes_in_obedience_is_dropped(attack: PlantedAttack) -> None:
    if attack.language == "fr" or attack.id == "attack-instruction-in-the-title":
        with pytest.raises(ModelFailed, match="another language"):
            await summarized(attack, ScriptedModel([obedient(attack)]))
        return
    output = await summarized(attack, ScriptedModel([obedient(attack)]))
    is_obeyed = obeyed(attack, output, answers=False) is not None
    assert is_obeyed is (attack.id in SAID_BY_THE_ORDER)
    assert json.loads(output)["overview"]


@pytest.mark.parametrize("attack", SHIPPED, ids=lambda each: each.id)
async def test_the_extractive_engine_obeys_nothing(attack: PlantedAttack) -> None:
    assert obeyed(attack, await summarized(attack, None), answers=False) is None


@pytest.mark.parametrize("attack", SHIPPED, ids=lambda each: each.id)
async def test_no_word_of_a_conversation_leaves_the_data(attack: PlantedAttack) -> None:
    model = ScriptedModel([general()])
    with contextlib.suppress(ModelFailed):  # the answer is not in the language of each attack
        await summarized(attack, model)
    check_data(model.prompts[0], attack)


def check_data(prompt: Prompt, attack: PlantedAttack) -> None:
    """The data has one line for each turn, and everything else is the same for each transcript."""
    (message,) = prompt.messages
    found = re.fullmatch(r"<transcript>\n(.*)\n</transcript>\n\n[\w .]+", message.text, re.DOTALL)
    assert found is not None
    assert "<" not in found[1]
    lines = [re.fullmatch(r"(\d+)(?: [^|]+)?\| (.*)", line) for line in found[1].splitlines()]
    assert [int(line[1]) for line in lines if line] == list(range(len(lines)))
    said = "".join(line[2] for line in lines if line).replace(" ", "")
    told = "".join(each.text for each in attack.segments)
    assert said == re.sub(r"\s", "", told).replace("<", "‹").replace(">", "›")
    assert prompt.instructions in INSTRUCTIONS
