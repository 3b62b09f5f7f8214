"""Claims about what was said, each with whether it was: for a judge that must tell the one from the other."""

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from lapel.evaluation.conversations import Half, WrittenConversation, WrittenLanguage
from lapel.evaluation.reading import FOLDER, EvaluationSetInvalid, read_file

MOST_CHARACTERS: Final = 1000
"""The longest claim that is judged."""

_BESIDE: Final = 1
_TRUE: Final = frozenset({"verbatim", "paraphrase", "two_turns"})

ClaimKind = Literal[
    "verbatim", "paraphrase", "two_turns",
    "negation", "who", "number", "time", "added", "other_speaker", "plan", "quantifier",
]  # fmt: skip
"""What a claim is like.

The first three are true: in almost the same words, in others, or from two or three turns together. The rest
are false in one small way: the opposite; another person; another number, unit or price; another day or hour;
a true sentence with something that was not said; said by the other speaker; a plan, wish or question told as
done; all for some.
"""


class WrittenClaim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A claim about a conversation of the set. `turns`: the segments that decide, counted from 0."""

    conversation: str
    turns: list[int]
    language: WrittenLanguage
    kind: ClaimKind
    supported: bool
    claim: str


class OwnClaim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A claim of a user's file. `passage`: what was said. `language`, `passage_language`: names of languages;
    if they differ, the claim counts as across languages."""

    claim: Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_CHARACTERS)]
    passage: Annotated[str, msgspec.Meta(min_length=1)]
    supported: bool
    kind: str = "claim"
    language: str | None = None
    passage_language: str | None = None


class SaidTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn that a judge reads. `speaker`: None if it is unknown."""

    speaker: str | None
    text: str


class EvaluatedClaim(msgspec.Struct, frozen=True, kw_only=True):
    """A claim with what a judge reads: the turns that decide, and one before and after. `across`: whether the
    claim's language is not the speech's."""

    claim: str
    supported: bool
    kind: str
    half: Half
    across: bool
    title: str | None
    turns: list[SaidTurn]


def written_claims(folder: Path = FOLDER) -> list[WrittenClaim]:
    """The claims of the set. Raises EvaluationSetInvalid if the file does not fit."""
    return read_file(folder / "claims.json", list[WrittenClaim])


def shipped_claims(
    written: list[WrittenClaim], conversations: list[WrittenConversation]
) -> list[EvaluatedClaim]:
    """The claims of the set, with the speech of their conversations."""
    by_id = {each.id: each for each in conversations}
    return [_with_speech(each, by_id[each.conversation]) for each in written]


def own_claims(path: Path) -> list[EvaluatedClaim]:
    """The claims of a file: a JSON list of OwnClaim. They count as the half `judge`.

    Raises EvaluationSetInvalid if the file does not fit, and OSError if it cannot be read.
    """
    found = read_file(path, list[OwnClaim])
    if not found:
        raise EvaluationSetInvalid(f"{path.name}: it has no claims")
    return [
        EvaluatedClaim(
            claim=each.claim,
            supported=each.supported,
            kind=each.kind,
            half="judge",
            across=each.language != each.passage_language,
            title=None,
            turns=[SaidTurn(speaker=None, text=each.passage)],
        )
        for each in found
    ]


def is_true_kind(kind: ClaimKind) -> bool:
    """Whether claims of this kind are supported."""
    return kind in _TRUE


def _with_speech(claim: WrittenClaim, of: WrittenConversation) -> EvaluatedClaim:
    near = {place for turn in claim.turns for place in range(turn - _BESIDE, turn + _BESIDE + 1)}
    read = [place for place in sorted(near) if 0 <= place < len(of.segments)]
    return EvaluatedClaim(
        claim=claim.claim,
        supported=claim.supported,
        kind=claim.kind,
        half=of.half,
        across=claim.language != of.language,
        title=of.title,
        turns=[SaidTurn(speaker=of.segments[each].speaker, text=of.segments[each].text) for each in read],
    )
