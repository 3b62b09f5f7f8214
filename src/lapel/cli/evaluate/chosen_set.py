"""The part of the shipped set that a run uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from lapel.evaluation.attacks import PlantedAttack, attacks
from lapel.evaluation.claims import EvaluatedClaim, own_claims, shipped_claims, written_claims
from lapel.evaluation.conversations import WrittenConversation, conversations
from lapel.evaluation.questions import EvaluationQuestion, questions

Part = Literal["search", "ask", "summaries", "attacks", "claims"]
PARTS: tuple[Part, ...] = ("search", "ask", "summaries", "attacks", "claims")
ChosenHalf = Literal["choose", "judge", "all"]

T = TypeVar("T")


class ChosenSet(msgspec.Struct, frozen=True, kw_only=True):
    """What a run asks, summarizes and stores.

    `questions` are asked, `summarized` and `attacks` are summarized, `attacks` are asked too. `stored` are
    the conversations that have to be there for that: all of each person who asks. `told_facts` are the
    questions whose facts a summary should say. `claims` are judged, and need no conversation.
    """

    questions: list[EvaluationQuestion]
    summarized: list[WrittenConversation]
    attacks: list[PlantedAttack]
    stored: list[WrittenConversation]
    told_facts: list[EvaluationQuestion]
    claims: list[EvaluatedClaim]


def shipped_set() -> ChosenSet:
    """The whole shipped set."""
    every, asked = conversations(), questions()
    return ChosenSet(
        questions=asked,
        summarized=every,
        attacks=attacks(),
        stored=every,
        told_facts=asked,
        claims=shipped_claims(written_claims(), every),
    )


def claims_of(path: Path) -> ChosenSet:
    """Only the claims of a user's file.

    Raises EvaluationSetInvalid if the file does not fit, and OSError if it cannot be read.
    """
    return ChosenSet(
        questions=[], summarized=[], attacks=[], stored=[], told_facts=[], claims=own_claims(path)
    )


def chosen(whole: ChosenSet, part: Part | None, half: ChosenHalf, limit: int | None) -> ChosenSet:
    """The part of a set that belongs to one part of the evaluation, and to one half.

    `limit`: at most so many questions, summaries, attacks and claims; they keep the mixture of the whole.
    """
    asks = part in (None, "search", "ask")
    asked = _some(
        [each for each in whole.questions if asks and half in ("all", each.half)],
        limit,
        lambda each: (each.half, each.kind, each.id),
    )
    summarized = _some(
        [each for each in whole.summarized if part in (None, "summaries") and half in ("all", each.half)],
        limit,
        lambda each: (each.half, each.language, each.id),
    )
    planted = _some(
        [each for each in whole.attacks if part in (None, "attacks")],
        limit,
        lambda each: (each.planted_in, each.language, each.id),
    )
    claims = _some(
        [each for each in whole.claims if part in (None, "claims") and half in ("all", each.half)],
        limit,
        lambda each: (each.half, str(each.across), each.kind, each.claim),
    )
    people = {each.end_user for each in asked}
    needed = {each.id for each in summarized}
    stored = [each for each in whole.stored if each.end_user in people or each.id in needed]
    return ChosenSet(
        questions=asked,
        summarized=summarized,
        attacks=planted,
        stored=stored,
        told_facts=whole.told_facts,
        claims=claims,
    )


def _some(found: Sequence[T], limit: int | None, order: Callable[[T], tuple[str, ...]]) -> list[T]:
    """At most `limit` of them, at equal distances in this order, so each group has its share."""
    ordered = sorted(found, key=order)
    if limit is None or limit >= len(ordered):
        return ordered
    return [ordered[place * len(ordered) // limit] for place in range(limit)]
