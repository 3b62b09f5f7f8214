"""The draft of an answer, in one process."""

from __future__ import annotations

import itertools

import pytest

from lapel.slices.ask.composing.answer_draft import MAX_CHARACTERS, AnswerDraft
from lapel.slices.ask.wire import CitationPart, TextPart


class _Agreeing:
    async def check(self, claim: str, number: int) -> CitationPart | None:
        del claim
        return CitationPart(recording_id=f"rec_{number}", start_ms=0)

    async def find(self, claim: str) -> CitationPart | None:
        del claim
        return None


@pytest.mark.timeout(20)
@pytest.mark.parametrize("mark", [".", "?!", "…"])
async def test_a_run_of_marks_is_read_once(mark: str) -> None:
    """Each mark as the begin of a run of its own would take minutes."""
    draft = AnswerDraft(_Agreeing())
    await draft.feed(mark * ((MAX_CHARACTERS - 100) // len(mark)) + "a")
    await draft.feed(" mile of marks [1]")
    await draft.end()
    assert draft.is_full  # it repeats itself


def lines(count: int) -> str:
    """Different short lines, each with a mark."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ("".join(each) for each in itertools.product(letters, repeat=3))
    return "\n".join(f"Z{word} [1]" for word in itertools.islice(words, count))


@pytest.mark.timeout(20)
async def test_one_large_piece_is_as_quick_as_many_small_ones_and_says_the_same() -> None:
    """Each sentence once read all that followed: 16,000 characters took half a minute."""
    text = lines(480)
    at_once, bit_by_bit = AnswerDraft(_Agreeing()), AnswerDraft(_Agreeing())
    await at_once.feed(text)
    await at_once.end()
    for start in range(0, len(text), 7):
        await bit_by_bit.feed(text[start : start + 7])
    await bit_by_bit.end()
    assert at_once.parts == bit_by_bit.parts
    assert len(at_once.parts) > 300


async def test_what_fits_of_a_piece_that_is_too_long_is_judged() -> None:
    draft = AnswerDraft(_Agreeing())
    words = " ".join(f"word{number}" for number in range(20_000))
    await draft.feed(f"It is so [1]. {words}")
    assert draft.is_full
    assert draft.parts[0] == TextPart(text="It is so")


class _Refusing(_Agreeing):
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def check(self, claim: str, number: int) -> CitationPart | None:
        del number
        self.asked.append(claim)
        return None


async def test_full_stops_that_come_one_by_one_let_a_sentence_be_judged_no_more_often() -> None:
    """Each judgement may ask the embedding model."""
    judge = _Refusing()
    draft = AnswerDraft(judge)
    await draft.feed("Nobody said that [1]")
    for _ in range(100):
        await draft.feed(".")
    await draft.feed(" Nobody said this [2]. ")
    await draft.end()
    assert draft.parts == []
    assert set(judge.asked) == {"Nobody said that", "Nobody said this"}
    assert len(judge.asked) <= 4


class _Counting(_Agreeing):
    def __init__(self) -> None:
        self.checked: list[tuple[str, int]] = []

    async def check(self, claim: str, number: int) -> CitationPart | None:
        self.checked.append((claim, number))
        return await super().check(claim, number)


@pytest.mark.parametrize("closed", ["", ". "])
async def test_a_claim_is_compared_with_few_of_the_passages_that_are_named(closed: str) -> None:
    """Each comparison may ask the embedding model, and a model may name the same or all passages for ever."""
    judge = _Counting()
    draft = AnswerDraft(judge)
    await draft.feed(f"The roof is repaired [1]{closed}")
    for number in range(300):
        await draft.feed(f"[{number % 100 + 1}]")
    await draft.end()
    assert draft.parts[0] == TextPart(text="The roof is repaired")
    assert len(judge.checked) <= 12


class _Finding(_Agreeing):
    async def find(self, claim: str) -> CitationPart | None:
        return await self.check(claim, 1)


@pytest.mark.parametrize(
    "text",
    ["The place is evil.[1]com/login is the place [1].", "The place is evil。com/login is the place [1]."],
)
@pytest.mark.parametrize("size", [1, 1_000])
async def test_two_sentences_make_no_link_together(text: str, size: int) -> None:
    draft = AnswerDraft(_Finding())
    for start in range(0, len(text), size):
        await draft.feed(text[start : start + size])
    await draft.end()
    shown = "".join(each.text for each in draft.parts if isinstance(each, TextPart))
    assert shown in ("The place is evil.", "The place is evil。")
