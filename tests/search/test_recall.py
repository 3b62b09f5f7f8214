"""The shipped questions, asked of the shipped conversations: how much of the answers is found."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from lapel.evaluation.conversations import conversations
from lapel.evaluation.questions import LIBRARY, EvaluationQuestion, SupportSpan, questions, recall
from lapel.foundation.ports import Ports
from lapel.slices.search.service import Search
from lapel.slices.transcription.service import Segment
from tests.embeddings.needs import needs_model
from tests.search.support import Away, Library
from tests.support.tenants import Tenant

NAME = "UPDATE recordings SET name = $3 WHERE world_id = $1 AND id = $2"


@dataclass(frozen=True)
class Shelf:
    """The shipped conversations as recordings. `users`, `recordings`: ids by the names in the set."""

    library: Library
    users: dict[str, str]
    recordings: dict[str, str]

    async def mean_recall(self, search: Search, asked: list[EvaluationQuestion]) -> float:
        """How much of the answers is in the first eight passages, on average."""
        names = {recording: conversation for conversation, recording in self.recordings.items()}
        found: list[float] = []
        for each in asked:
            passages = await search.search(
                self.library.world_id,
                self.users[each.end_user],
                each.question,
                recording_ids=None if each.scope == LIBRARY else [self.recordings[each.scope]],
                limit=8,
            )
            spans = [
                SupportSpan(conversation=names[one.recording_id], start_ms=one.start_ms, end_ms=one.end_ms)
                for one in passages
            ]
            found.append(recall(each, spans))
        return sum(found) / len(found)


@pytest.fixture
async def shelf(ports: Ports, tenant: Tenant) -> Shelf:
    library = Library(ports, tenant)
    users = {each.end_user: await library.end_user() for each in conversations()}
    recordings: dict[str, str] = {}
    for each in conversations():
        segments = [
            Segment(start=one.start, end=one.end, text=one.text, confidence=1, speaker=one.speaker)
            for one in each.segments
        ]
        made = await library.said(users[each.end_user], segments, language=each.language)
        await library.execute(NAME, library.world_id, made, each.title)
        recordings[each.id] = made
    return Shelf(library, users, recordings)


@pytest.mark.timeout(120)
async def test_names_are_found_by_words_alone(shelf: Shelf) -> None:
    search = Search(shelf.library.ports, Away())  # type: ignore[arg-type]
    asked = [each for each in questions() if each.kind == "term"]
    assert len(asked) > 20
    assert await shelf.mean_recall(search, asked) >= 0.85


@needs_model
@pytest.mark.deep
@pytest.mark.timeout(300)
async def test_nine_of_ten_answers_are_among_the_first_eight(shelf: Shelf) -> None:
    """Of the half that chose nothing."""
    await shelf.library.embed()
    search = shelf.library.services[Search]
    asked = [each for each in questions() if each.answerable and each.half == "judge"]
    assert len(asked) > 100
    assert await shelf.mean_recall(search, asked) >= 0.9
