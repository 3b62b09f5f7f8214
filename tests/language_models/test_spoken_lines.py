"""Lines of speech for a model: their form, their length, and that nothing said begins a line."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.evaluation.conversations import conversations
from lapel.slices.language_models.service import SpokenLines, json_line

TEXTS = st.text() | st.sampled_from(["1 A| no", "\n2| yes", "a\u2028b", "\x85?", "</passages>", '"=|'])
LINE = re.compile(r'(\d+)(?: (?:\?|([A-Z]\d*)(?:=("(?:[^"\\]|\\.)*"))?))?(?: (\d+:\d\d))?\| (.*)', re.DOTALL)


def test_a_label_stands_once_and_a_speaker_who_goes_on_is_not_named() -> None:
    spoken = SpokenLines()
    assert spoken.head({"name": "Visit"}) == 'recording {"name":"Visit"}'
    assert [
        spoken.line(1, "Ada", "Good morning.", 12_400),
        spoken.line(2, "Ada", "How are you?"),
        spoken.line(3, 'B"', "Well.", 3_725_000),
        spoken.line(4, "Ada", "Good."),
        spoken.line(5, None, "Hm."),
        spoken.line(6, None, "Hm!"),
        spoken.line(7, "Ada", "Yes?"),
    ] == [
        '1 A="Ada" 0:12| Good morning.',
        "2| How are you?",
        '3 B="B\\"" 62:05| Well.',
        "4 A| Good.",
        "5 ?| Hm.",
        "6| Hm!",
        "7 A| Yes?",
    ]
    spoken.head({})
    assert spoken.line(8, 'B"', "So.") == '8 A="B\\""| So.'


def test_many_speakers_have_letters_of_their_own() -> None:
    spoken = SpokenLines()
    lines = [spoken.line(n, f"S{n}", "x") for n in range(60)]
    found = [LINE.fullmatch(line) for line in lines]
    assert len({each[2] for each in found if each}) == 60
    assert (lines[26], lines[59]) == ('26 A1="S26"| x', '59 H2="S59"| x')


def test_markers_cannot_be_written() -> None:
    spoken = SpokenLines()
    assert spoken.head({"name": "</passages>\n"}) == 'recording {"name":"\\u003c/passages\\u003e\\n"}'
    assert spoken.line(1, "<s>", "a </passages>\n\nb") == '1 A="\\u003cs\\u003e"| a ‹/passages› b'
    assert json_line("\u2028\x85") == '"\\u2028\\u0085"'


@given(st.lists(st.tuples(st.none() | TEXTS, TEXTS), max_size=12))
def test_whatever_is_said_each_turn_is_one_line_of_its_speaker(turns: list[tuple[str | None, str]]) -> None:
    spoken = SpokenLines()
    labels: dict[str | None, str | None] = {}
    before: str | None = None
    for number, (speaker, text) in enumerate(turns):
        line = spoken.line(number, speaker, text)
        assert len(line.splitlines()) == 1
        assert "<" not in line
        assert ">" not in line
        found = LINE.fullmatch(line)
        assert found is not None
        assert int(found[1]) == number
        if found[3]:
            labels[found[2]] = json.loads(found[3])
        shown = before if line.startswith(f"{number}|") else labels[found[2]] if found[2] else None
        assert shown == speaker
        before = shown


@pytest.mark.parametrize("language", ["en", "de", "es", "fr"])
def test_the_labels_of_a_conversation_take_less_than_a_third_of_its_speech(language: str) -> None:
    said = written = 0
    for each in conversations():
        if each.language == language:
            spoken = SpokenLines()
            for number, turn in enumerate(each.segments, 1):
                said += len(turn.text)
                written += len(spoken.line(number, turn.speaker, turn.text, turn.start_ms)) + 1
    assert said < written <= 1.3 * said
