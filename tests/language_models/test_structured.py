"""Structured answers are validated, and repaired once."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec
import pytest

from lapel.slices.language_models.service import (
    Generated,
    Message,
    ModelFailed,
    Prompt,
    Tokens,
    estimated_tokens,
    structured,
)

SCHEMA = {
    "type": "object",
    "properties": {"count": {"type": "integer"}, "mood": {"enum": ["good", "bad", None]}},
    "required": ["count", "mood"],
    "additionalProperties": False,
}
PROMPT = Prompt(
    instructions="Count.", messages=[Message(role="user", text="One, two.")], max_tokens=50, schema=SCHEMA
)


class Count(msgspec.Struct, frozen=True):
    """What the answers of these tests hold."""

    count: int
    mood: str | None


class Written:
    """A model whose answers are written beforehand."""

    name = "tiny"
    context_tokens = 1000
    reads_claims = False

    def __init__(self, *answers: Generated) -> None:
        self.answers = list(answers)
        self.prompts: list[Prompt] = []

    async def generate(self, prompt: Prompt) -> Generated:
        """The next answer."""
        self.prompts.append(prompt)
        return self.answers.pop(0)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Generated]:
        """The next answer, in one piece."""
        generated = await self.generate(prompt)
        yield generated.text
        yield generated


def said(text: str, **rest: object) -> Generated:
    """An answer of 3 tokens."""
    whole = {"text": text, "model": "written", "tokens": {"input": 10, "output": 3}} | rest
    return msgspec.convert(whole, Generated)


def counted(value: object) -> Count:
    """The value as a Count that is not negative."""
    found = msgspec.convert(value, Count)
    if found.count < 0:
        raise ValueError("count is negative")
    return found


@pytest.mark.parametrize("text", ['{"count": 2, "mood": null}', '```json\n{"count": 2, "mood": null}\n```'])
async def test_a_valid_answer_is_converted(text: str) -> None:
    model = Written(said(text))
    assert (await structured(model, PROMPT, counted))[0] == Count(2, None)
    assert model.prompts == [PROMPT]


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ("words", "malformed"),
        ('{"count": "two", "mood": null}', "`count` must be a whole number, and is a text."),
        ('{"count": 2}', "The JSON value must have `mood`."),
        (
            '{"count": 2, "mood": null, "more": 1}',
            "The JSON value has fields that the schema does not name: `more`.",
        ),
        ('{"count": -1, "mood": null}', "count is negative"),
        ("[" * 900 + "]" * 900, "The JSON value must be an object, and is a list."),
        ("", "truncated"),
    ],
)
async def test_a_wrong_answer_is_repaired_once(wrong: str, fault: str) -> None:
    model = Written(said(wrong), said('{"count": 2, "mood": "good"}'))
    found, call = await structured(model, PROMPT, counted)
    assert found == Count(2, "good")
    assert call.tokens == Tokens(input=20, output=6)
    told = model.prompts[1].messages
    assert [each.role for each in told] == ["user", "assistant", "user"]
    assert fault in told[2].text
    assert len(told[1].text) <= 20_000


async def test_two_wrong_answers_fail() -> None:
    with pytest.raises(ModelFailed) as failed:
        await structured(Written(said("two"), said("three")), PROMPT, counted)
    assert failed.value.code == "schema"


@pytest.mark.parametrize(("reason", "code"), [("length", "truncated"), ("content_filter", "refused")])
async def test_what_is_not_whole_is_not_read(reason: str, code: str) -> None:
    model = Written(said('{"count": 2, "mood": null}', finish_reason=reason))
    with pytest.raises(ModelFailed) as failed:
        await structured(model, PROMPT, counted)
    assert failed.value.code == code


@pytest.mark.parametrize(
    ("text", "least"),
    [("", 0), ("The budget is nine thousand.", 6), ("предложение принято", 8), ("会議は三時に始まる", 9)],
)
def test_an_estimate_is_cautious(text: str, least: int) -> None:
    assert least <= estimated_tokens(text) <= least * 4
