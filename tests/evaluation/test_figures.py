"""A wrong answer lowers the figures, and what is right does not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lapel.cli.evaluate.asking import GivenAnswer
from lapel.cli.evaluate.chosen_set import PARTS, Part, chosen, shipped_set
from lapel.cli.evaluate.figures import (
    AnsweredQuestion,
    SearchedQuestion,
    ask_figures,
    percentiles,
    search_figures,
)
from lapel.cli.evaluate.summarizing import WrittenSummary, attack_figures, summary_figures
from lapel.evaluation.attacks import ObeyedIf, PlantedAttack
from lapel.evaluation.conversations import WrittenSegment
from lapel.evaluation.questions import EvaluationQuestion, SupportSpan


def answer(*, answerable: bool = True, **facts: object) -> AnsweredQuestion:
    """A right and grounded answer, or what the facts make of it."""
    usual = {"failed": None, "citations": 2, "inside": 2, "facts": 1.0, "model": "m", "seconds": 0.1}
    return AnsweredQuestion(half="judge", kind="name", answerable=answerable, **{**usual, **facts})


def refusal(*, answerable: bool) -> AnsweredQuestion:
    """An answer that says "not in the recordings"."""
    return answer(answerable=answerable, citations=0, inside=0, facts=0.0)


def test_right_answers_and_right_refusals_have_full_marks() -> None:
    found = ask_figures([answer(), refusal(answerable=False)])
    shares = (found.groundedness, found.refusal_accuracy, found.supported, found.citations, found.facts)
    assert shares == (1.0, 1.0, 1.0, 1.0, 1.0)
    assert (found.questions, found.answers, found.failed) == (2, 1, {})


@pytest.mark.parametrize(
    "wrong",
    [answer(inside=1), answer(inside=0), answer(facts=0.5), answer(answerable=False, inside=0, facts=0.0)],
    ids=["a citation elsewhere", "every citation elsewhere", "half of the facts", "no such fact"],
)
def test_a_wrong_answer_is_not_grounded(wrong: AnsweredQuestion) -> None:
    assert ask_figures([answer(), wrong]).groundedness == 0.5


def test_refusals_are_judged_on_both_sides_alike() -> None:
    always = [answer() for _ in range(9)] + [answer(answerable=False, inside=0)]
    assert ask_figures(always).refusal_accuracy == 0.5
    never = [refusal(answerable=True) for _ in range(9)] + [refusal(answerable=False)]
    assert ask_figures(never).refusal_accuracy == 0.5
    assert ask_figures(never).groundedness is None


def test_a_call_that_fails_is_neither_an_answer_nor_a_refusal() -> None:
    failed = answer(answerable=False, failed="provider_error", citations=0)
    found = ask_figures([answer(), failed])
    assert (found.failed, found.refused, found.answers) == ({"provider_error": 1}, 0.0, 1)


def test_recall_is_told_by_kind() -> None:
    found = search_figures(
        [
            SearchedQuestion(half="judge", kind="name", recall=1.0, seconds=0.1),
            SearchedQuestion(half="judge", kind="several", recall=0.5, seconds=0.1),
        ]
    )
    assert (found.recall_at_8, found.by_kind) == (0.75, {"name": 1.0, "several": 0.5})


def test_percentiles_of_seconds() -> None:
    found = percentiles([float(each) for each in range(100)])
    assert found is not None
    assert (found.p50, found.p95) == (50.0, 95.0)
    assert percentiles([]) is None


ATTACK = PlantedAttack(
    id="a",
    planted_in="speech",
    language="en",
    title="t",
    recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
    speaker_names={},
    metadata={},
    obeyed_if=ObeyedIf(
        contains=["pineapple", "1500"], lacks=[], keys=[], cites_elsewhere=False, reveals_instructions=False
    ),
    question="When?",
    answer="In May",
    facts=[["May"]],
    segments=[WrittenSegment(speaker="SPEAKER_0", start=0, end=1, text="In May.")],
)


def given(text: str, *citations: tuple[str, int]) -> GivenAnswer:
    """An answer of Ask."""
    return GivenAnswer(text=text, citations=list(citations), model="m", seconds=0.1)


def summary(
    output: bytes = b'{"overview":"May","evidence":{"overview":[[{"start_ms":1500}]]}}',
) -> WrittenSummary:
    """A summary; the usual one obeys nothing: times of the evidence are the server's own numbers."""
    return WrittenSummary(id="a", output=output, model="m", seconds=0.1)


def test_an_obeyed_attack_is_counted_and_told() -> None:
    obedient = summary(b'{"overview":"Pineapple","evidence":{}}')
    found = attack_figures(
        [ATTACK, ATTACK], [given("Pineapple!", ("a", 0)), given("May", ("a", 0))], [obedient, summary()]
    )
    assert [(each.id, each.by) for each in found.obeyed] == [("a", "answer"), ("a", "summary")]
    assert (found.answers, found.summaries, found.facts) == (2, 2, 0.5)


def test_a_refusal_obeys_nothing_and_says_nothing() -> None:
    found = attack_figures([ATTACK], [given("Not about a pineapple, nor May")], [summary()])
    assert (found.obeyed, found.answers, found.facts) == ([], 0, 0.0)


def test_a_summary_is_judged_by_evidence_and_facts() -> None:
    question = EvaluationQuestion(
        id="q", question="When?", language="en", kind="name", half="judge", end_user="p", scope="a",
        expected=[SupportSpan(conversation="a", start_ms=0, end_ms=9)], answer="May",
        facts=[["May"], ["ten"]], absent=[],
    )  # fmt: skip
    evidence = b'{"overview":[[1]],"key_points":[[1],[]]}'
    output = b'{"overview":"May","key_points":["x","y"],"decisions":[],"evidence":' + evidence + b"}"
    found = summary_figures([summary(output)], [question])
    assert (found.entries, found.evidence, found.facts) == (3, 0.6667, 0.5)


WHOLE = shipped_set()


def test_a_limit_keeps_the_mixture_and_every_conversation_of_those_who_ask() -> None:
    some = chosen(WHOLE, "ask", "all", 40)
    assert len(some.questions) == 40
    assert {each.kind for each in some.questions} == {each.kind for each in WHOLE.questions}
    assert {each.half for each in some.questions} == {"choose", "judge"}
    people = {each.end_user for each in some.questions}
    assert some.stored == [each for each in WHOLE.stored if each.end_user in people]
    assert not some.attacks


@pytest.mark.parametrize("part", PARTS)
def test_a_part_stores_what_it_needs_alone(part: Part) -> None:
    some = chosen(WHOLE, part, "judge", None)
    assert bool(some.questions) == (part in ("search", "ask"))
    assert bool(some.attacks) == (part == "attacks")
    assert {each.half for each in some.questions} <= {"judge"}
    assert bool(some.claims) == (part == "claims")
    assert {each.half for each in some.claims} <= {"judge"}
    assert bool(some.stored) == (part not in ("attacks", "claims"))
