"""What speaks for a sentence as an answer, and what a question wants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.slices.language_models.extractive.answer_types import can_hold, wanted_type
from lapel.slices.language_models.extractive.support import (
    WEIGHTS,
    AnswerWindow,
    Features,
    features_of,
    score,
)


def window(text: str, *, beside: str = "", around: str = "", rank: int = 0) -> AnswerWindow:
    """A window; without `around`, the passage is the text itself."""
    return AnswerWindow(text=text, beside=beside, around=around or text, rank=rank)


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("How many pills does she take?", "number"),
        ("What is the monthly price?", "number"),
        ("Wie lange tippt die Hebamme?", "number"),
        ("¿Cuánto costó?", "number"),
        ("Combien de paniers ?", "number"),
        ("多少钱?", "number"),
        ("When does it start?", "time"),
        ("¿En qué fecha se casaron?", "time"),
        ("Quand sera versée l'indemnité ?", "time"),
        ("What did he say when he came back?", "any"),
        ("Wer ändert die Form?", "name"),
        ("Qui vient ?", "name"),
        ("那个群是谁建的?", "name"),
        ("Why did it stop?", "any"),
        ("Mikor indul a vonat?", "any"),
        ("", "any"),
    ],
)
def test_a_question_wants_a_sort_of_answer(question: str, wanted: str) -> None:
    assert wanted_type(question) == wanted


@pytest.mark.parametrize(
    ("question", "holds", "lacks"),
    [
        ("How much is a battery for the TK-40?", "Eighty euros.", "So I brought the TK-40."),
        ("How much did it cost?", "That was 195.", "At 23:40 it stopped."),
        ("Wie viele waren es?", "Zweiunddreißig.", "Eine ganze Menge."),
        ("When do we meet?", "On Friday, I think.", "In the kitchen."),
        ("谁来?", "老魏会来。", "明天会来。"),
        ("Who calls Mr. Pruitt?", "I think Odile calls.", "I'm calling, I'm sure."),
        ("Wer kommt?", "Am Montag kommt Vroni.", "Da kommt der Bus."),
    ],
)
def test_a_text_holds_what_is_wanted(question: str, holds: str, lacks: str) -> None:
    wanted = wanted_type(question)
    assert can_hold(wanted, holds, question)
    assert not can_hold(wanted, lacks, question)


def test_words_of_the_sentence_count_more_than_those_beside_it_and_around_it() -> None:
    question = "Who pays for the kitchen?"
    told = "Anderson does that."
    features = features_of(
        question,
        [
            window("Anderson pays for the kitchen."),
            window(told, beside="The kitchen, who pays?"),
            window(told, around="Pay the kitchen!"),
            window(told, rank=1),
        ],
    )
    shares = [each.words for each in features]
    assert shares[0] == pytest.approx(1.0)
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) == 4
    assert [each.rank for each in features] == [1.0, 1.0, 1.0, 0.5]


def test_a_sentence_in_another_language_is_known() -> None:
    question = "How many times has the lift broken down since Christmas?"
    spanish = "Se ha parado siete veces desde Navidad, y la última vez con doña Remedios dentro."
    english = "We have been waiting for the lift for ten minutes, and it has not come."
    found = features_of(question, [window(spanish), window(english)])
    assert [each.foreign for each in found] == [1.0, 0.0]
    assert [each.number for each in found] == [1.0, 1.0]


def test_a_larger_cosine_gives_a_higher_score() -> None:
    features = Features(words=0.5, rank=1.0, new=0.5, number=0.0, time=0.0, name=0.0, foreign=0.0, cosine=0.8)
    better = Features(words=0.5, rank=1.0, new=0.5, number=0.0, time=0.0, name=0.0, foreign=0.0, cosine=0.9)
    assert score(better) - score(features) == pytest.approx(0.1 * WEIGHTS.cosine)


@given(st.lists(st.text(max_size=30), max_size=12), st.text(max_size=40))
def test_any_texts_have_features(texts: list[str], question: str) -> None:
    for each in features_of(question, [window(text) for text in texts]):
        assert all(0 <= getattr(each, name) <= 1 for name in Features.__struct_fields__)
