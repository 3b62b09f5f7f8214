"""An entry that shares no words with its turns is kept if its meaning is near theirs."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence

import pytest

from lapel.slices.summaries.templates.builtin import BUILT_IN
from lapel.slices.summaries.writing.checking import Checker
from lapel.slices.summaries.writing.drafts import Draft, DraftEntry
from lapel.slices.summaries.writing.turn_support import Support
from lapel.slices.summaries.writing.turns import turns_of
from tests.summaries.support import MEETING, segments_of_talk

NEAR, FAR = array("f", [1.0, 0.0]).tobytes(), array("f", [0.6, 0.8]).tobytes()


class _Vectors:
    """Everything is near to everything but to penguins."""

    async def sentences(self, texts: Sequence[str]) -> list[bytes] | None:
        return [FAR if "enguins" in text else NEAR for text in texts]


def draft_with(text: str) -> Draft:
    """A draft with one entry."""
    fields: dict[str, list[DraftEntry] | DraftEntry | None] = {
        "overview": None,
        "key_points": [DraftEntry(text, [5])],
        "action_items": [],
        "participants": [],
        "decisions": [],
    }
    return Draft(fields)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Scandinavian clients hear about it soon.", True),
        ("Penguins live where ice never melts.", False),
        ("Scandinavian clients pay 700 euros soon.", False),
        ("Pineapple.", False),
    ],
)
async def test_meaning_counts_where_words_do_not(text: str, kept: bool) -> None:
    checker = await Checker.of(turns_of(segments_of_talk(MEETING)), _Vectors())
    found = await checker.keep_supported(draft_with(text), BUILT_IN["tmpl_general_notes"])
    assert found.draft.fields["key_points"] == ([DraftEntry(text, [5])] if kept else [])
    assert found.left_out == (0 if kept else 1)


async def test_numbers_are_checked_in_a_thread() -> None:
    """Hundreds of them take seconds, and the worker must renew its lease meanwhile."""
    threads: set[int] = set()

    class Watched(Support):
        def numbers_were_said(self, text: str, turns: Sequence[int]) -> bool:
            threads.add(threading.get_ident())
            return super().numbers_were_said(text, turns)

    checker = Checker(Watched(turns_of(segments_of_talk(MEETING))), _Vectors())
    for text in ("The customers in Norway hear of it.", "Scandinavian clients hear about it soon."):
        await checker.keep_supported(draft_with(text), BUILT_IN["tmpl_general_notes"])
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize(
    ("said", "written", "supported"),
    [
        ("The rent is 35 euros a day.", "The rent is 3.5 euros a day.", False),
        ("The rent is 40'000 francs.", "The rent is 40,000 francs.", True),
        ("Her potassium is five point one.", "Her potassium is 5.1.", True),
        ("We meet at three thirty.", "They meet at 3:30.", True),
        ("We meet at three.", "They meet at 3:30.", False),
        ("Nine days without a lift.", "day manager.", False),
    ],
)
def test_numbers_and_words_must_have_been_said(said: str, written: str, supported: bool) -> None:
    support = Support(turns_of(segments_of_talk([("SPEAKER_0", said)])))
    assert support.by_words(written, [0]) == ([0] if supported else None)
