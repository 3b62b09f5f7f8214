"""The claims of the set, and the figures of a judge that read them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from lapel.cli.evaluate.figures import ClaimFigures, JudgedClaim, claim_figures
from lapel.cli.evaluate.judging import evidence_of
from lapel.evaluation.claims import (
    MOST_CHARACTERS,
    WrittenClaim,
    is_true_kind,
    shipped_claims,
    written_claims,
)
from lapel.evaluation.conversations import conversations

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"
CONVERSATIONS = {each.id: each for each in conversations()}
CLAIMS = written_claims()


def id_of(claim: WrittenClaim) -> str:
    return f"{claim.conversation}:{claim.kind}:{claim.claim[:20]}"


def test_there_are_enough_over_enough_conversations() -> None:
    assert len(CLAIMS) >= 400
    assert len({each.conversation for each in CLAIMS}) >= 60
    pairs = {(each.language, CONVERSATIONS[each.conversation].language) for each in CLAIMS}
    assert len({pair for pair in pairs if pair[0] == pair[1]}) == 5
    assert len({frozenset(pair) for pair in pairs if pair[0] != pair[1]}) == 10


def test_half_is_true_in_each_half_and_across_languages() -> None:
    for half in ("choose", "judge"):
        for across in (False, True):
            some = [
                each.supported
                for each in CLAIMS
                if CONVERSATIONS[each.conversation].half == half
                and (each.language != CONVERSATIONS[each.conversation].language) == across
            ]
            assert len(some) >= 80
            assert 0.4 <= sum(some) / len(some) <= 0.6


def test_every_way_to_be_false_is_there_in_both_halves() -> None:
    for half in ("choose", "judge"):
        kinds = Counter(each.kind for each in CLAIMS if CONVERSATIONS[each.conversation].half == half)
        assert len(kinds) == 11
        assert min(kinds.values()) >= 4


@pytest.mark.parametrize("claim", CLAIMS, ids=id_of)
def test_a_claim_is_about_turns_of_its_conversation(claim: WrittenClaim) -> None:
    turns = CONVERSATIONS[claim.conversation].segments
    assert claim.turns
    assert all(0 <= each < len(turns) for each in claim.turns)
    assert claim.turns == sorted(set(claim.turns))
    assert claim.supported == is_true_kind(claim.kind)
    assert 6 <= len(claim.claim) <= MOST_CHARACTERS


def test_no_claim_is_there_twice() -> None:
    assert len({(each.conversation, each.claim) for each in CLAIMS}) == len(CLAIMS)


def test_a_judge_reads_the_turns_and_one_on_each_side() -> None:
    written = next(each for each in CLAIMS if each.turns[0] > 1 and len(each.turns) == 1)
    (claim,) = shipped_claims([written], list(CONVERSATIONS.values()))
    place, turns = written.turns[0], CONVERSATIONS[written.conversation].segments
    said = "".join(" ".join(evidence_of(claim).texts).split())
    for turn in turns[place - 1 : place + 2]:
        assert "".join(turn.text.split()) in said
    assert "".join(turns[place - 2].text.split()) not in said


def test_a_judge_that_accepts_all_has_every_false_claim_and_no_refusal() -> None:
    found = [
        JudgedClaim(half="judge", kind=kind, across=across, supported=supported, accepted=True, seconds=0.1)
        for kind, supported in (("verbatim", True), ("negation", False))
        for across in (False, True)
    ]
    figures = claim_figures(found)
    whole = ClaimFigures(claims=2, false_accepts=1.0, false_refusals=0.0)
    assert (figures.same_language, figures.across_languages) == (whole, whole)
    assert figures.right_by_kind == {"negation": 0.0, "verbatim": 1.0}


def test_figures_of_no_claims_are_unknown() -> None:
    only = JudgedClaim(half="judge", kind="who", across=True, supported=False, accepted=False, seconds=0.1)
    assert claim_figures([only]).same_language == ClaimFigures(
        claims=0, false_accepts=None, false_refusals=None
    )


def test_the_page_has_the_counts() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([a-z][^|]*) \| ([0-9, ]+) \|$", page, re.MULTILINE))
    assert rows["claims"] == str(len(CLAIMS))
    across = sum(each.language != CONVERSATIONS[each.conversation].language for each in CLAIMS)
    assert rows["of them in another language than the speech"] == str(across)
    assert rows["of them true"] == str(sum(each.supported for each in CLAIMS))
