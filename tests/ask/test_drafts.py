"""The draft of an answer, in one process."""

from __future__ import annotations

import pytest

from lapel.slices.ask.composing.answer_draft import MAX_CHARACTERS, AnswerDraft
from lapel.slices.ask.wire import CitationPart


class _Agreeing:
    async def check(self, claim: str, number: int) -> CitationPart:
        del claim
        return CitationPart(recording_id=f"rec_{number}", start_ms=0)

    async def find(self, claim: str) -> None:
        del claim


@pytest.mark.timeout(20)
@pytest.mark.parametrize("mark", [".", "?!", "…"])
async def test_a_run_of_marks_is_read_once(mark: str) -> None:
    """Each mark as the begin of a run of its own would take minutes."""
    draft = AnswerDraft(_Agreeing())
    await draft.feed(mark * ((MAX_CHARACTERS - 100) // len(mark)) + "a")
    await draft.feed(" mile of marks [1]")
    await draft.end()
    assert draft.is_full  # it repeats itself
