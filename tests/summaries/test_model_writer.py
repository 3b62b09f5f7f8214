"""Summaries by parts: how they are joined, and which of them a later try uses again."""

from __future__ import annotations

import json
import re

import pytest

from lapel.slices.language_models.service import ModelAway, ModelFailed, Prompt
from lapel.slices.summaries.templates.builtin import of_prompt
from lapel.slices.summaries.work.summary_writing import make_summary
from lapel.slices.summaries.writing.model_writer import UnkeptParts
from tests.summaries.support import ScriptedModel, segments_of_talk

LONG = segments_of_talk(
    [("SPEAKER_0", f"Item {number} of the list is about roofs.") for number in range(200)]
)
AS_JSON = of_prompt('Answer with JSON: {"topics": "what they speak about"}')


def written(prompt: Prompt, text: str) -> str:
    """An answer with this text, which names the first turn of the prompt's data."""
    first = re.search(r'^(?:\{.*"turns":\[)?(\d+)', prompt.messages[0].text, re.MULTILINE)
    assert first is not None
    return json.dumps({"content": {"value": text, "turns": [int(first[1])]}})


class KeptParts:
    """Keeps the parts in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def read(self, name: str) -> bytes | None:
        """What was written about a part."""
        return self.kept.get(name)

    async def write(self, name: str, result: bytes) -> None:
        """Keep what was written about a part."""
        self.kept[name] = result


async def test_json_that_no_window_can_join_fails_as_too_long() -> None:
    model = ScriptedModel(
        [lambda prompt: written(prompt, json.dumps({"topics": "Roofs. " * 300}))], context_tokens=4096
    )
    with pytest.raises(ModelFailed) as failed:
        await make_summary(model, AS_JSON, LONG, "en", parts=UnkeptParts(), meanings=None)
    assert failed.value.code == "context"


async def test_every_turn_is_read_when_the_window_grows_between_two_tries() -> None:
    parts, read, prompt = KeptParts(), set[int](), of_prompt("What do they speak about?")

    def answer(asked: Prompt) -> str:
        read.update(
            int(each) for each in re.findall(r"^(\d+)[^|\n]*\| ", asked.messages[0].text, re.MULTILINE)
        )
        return written(asked, "They speak about roofs.")

    dies = ScriptedModel([answer, ModelAway("It is away.")], context_tokens=4_900)
    with pytest.raises(ModelAway):
        await make_summary(dies, prompt, LONG, "en", parts=parts, meanings=None)
    # There are two parts again, and the first one is longer now.
    model = ScriptedModel([answer], context_tokens=6_900)
    await make_summary(model, prompt, LONG, "en", parts=parts, meanings=None)
    assert "part 2 of 2" in dies.prompts[1].instructions
    assert "part 2 of 2" in model.prompts[-2].instructions
    assert read == set(range(20))
