"""What was said on both sides of missing audio is not quoted, and not given to a model, as one sentence."""

from __future__ import annotations

from msgspec.structs import replace

from lapel.slices.transcription.service import Segment
from tests.ask.conftest import Asker
from tests.ask.scripted import says
from tests.search.support import segments_of

BEFORE, AFTER = "The doctor told us that I am having a big", "twice last week for the doctor, she said."
QUESTION = "What did the doctor say?"


def damaged() -> list[Segment]:
    """Two segments of one speaker, between which audio is missing."""
    one, two = segments_of([BEFORE, AFTER])
    return [one, replace(two, after_gap=True)]


async def session(asker: Asker) -> str:
    """The id of a session about a recording with a gap."""
    recording = await asker.library.said(await asker.library.end_user(), damaged())
    return (await asker.session(recording))["id"]


async def test_a_quotation_does_not_go_on_over_a_gap(asker: Asker) -> None:
    answer = (await asker.ask(await session(asker), QUESTION))["message"]
    quoted = [each["text"].strip() for each in answer["parts"] if each["type"] == "text"]
    assert quoted
    assert set(quoted) <= {BEFORE, AFTER}


async def test_a_model_gets_both_sides_as_two_passages(asker: Asker) -> None:
    model = asker.script(says("I am having a big twice last week [1]."))
    await asker.ask(await session(asker), QUESTION)
    lines = model.prompts[-1].messages[-1].text.splitlines()
    assert [each.partition("| ")[2] for each in lines if each[:1].isdigit()] == [BEFORE, AFTER]
