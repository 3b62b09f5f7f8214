"""Summaries by parts: how they are joined, and which of them a later try uses again."""

from __future__ import annotations

import json
import re

import pytest

from lapel.slices.language_models.service import ModelFailed, Prompt
from lapel.slices.summaries.templates.builtin import of_prompt
from lapel.slices.summaries.work.summary_writing import make_summary
from lapel.slices.summaries.writing.model_writer import UnkeptParts
from tests.summaries.support import ScriptedModel, segments_of_talk

LONG = segments_of_talk([("SPEAKER_0", f"Item {number} of the list is about roofs.") for number in range(200)])
AS_JSON = of_prompt('Answer with JSON: {"topics": "what they speak about"}')


def written(prompt: Prompt, text: str) -> str:
    """An answer with this text, which names the first turn of the prompt's data."""
    first = re.search(r'"(?:i":|turns":\[)(\d+)', prompt.messages[0].text)
    assert first is not None
    return json.dumps({"content": {"value": text, "turns": [int(first[1])]}})


async def test_json_that_no_window_can_join_fails_as_too_long() -> None:
    model = ScriptedModel(
        [lambda prompt: written(prompt, json.dumps({"topics": "Roofs. " * 300}))], context_tokens=4096
    )
    with pytest.raises(ModelFailed) as failed:
        await make_summary(model, AS_JSON, LONG, "en", parts=UnkeptParts(), meanings=None)
    assert failed.value.code == "context"
