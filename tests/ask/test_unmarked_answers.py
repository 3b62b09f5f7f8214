"""Answers in which the model names no passage."""

from __future__ import annotations

import pytest

from lapel.slices.ask.composing.refusal_sentences import SENTENCES
from tests.ask.conftest import Asker
from tests.ask.scripted import says


@pytest.mark.parametrize(
    "text",
    [
        "The roof of the school will be repaired in May.",
        "The roof of the school will be repaired in May. The mayor will resign in June.",
    ],
)
async def test_a_sentence_that_a_passage_says_gets_its_place(asker: Asker, text: str) -> None:
    asker.script(says(text))
    session = await asker.about_roof()
    message = (await asker.ask(session["id"], "When is the roof repaired?"))["message"]
    said, cited = message["parts"]
    assert said["text"].removesuffix(".") == "The roof of the school will be repaired in May"
    assert (cited["type"], cited["start_ms"]) == ("citation", 10_000)
    assert message["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "text",
    [
        "The roof of the school will be repaired in May for 4300 euros.",  # another number
        "The roof of the school will be repaired in May by Norbert.",  # another name
        "The roof of the school will be repaired in May [999].",
        "The mayor of the town resigns, as the roof leaks.",
        "Anna.",  # one word is in any passage about her
        "NOT IN THE RECORDINGS. The roof of the school will be repaired in May.",
        "",
    ],
)
async def test_what_no_passage_says_is_refused(asker: Asker, text: str) -> None:
    asker.script(says(text))
    session = await asker.about_roof()
    message = (await asker.ask(session["id"], "When is the roof repaired?"))["message"]
    assert message["parts"] == [{"type": "text", "text": SENTENCES["en"]}]
