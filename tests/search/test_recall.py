"""The shipped questions, asked of the shipped conversations: how much of the answers is found."""

from __future__ import annotations

import pytest

from lapel.evaluation.conversations import conversations
from lapel.evaluation.questions import LIBRARY, SupportSpan, questions, recall
from lapel.foundation.ports import Ports
from lapel.slices.search.service import Search
from lapel.slices.transcription.service import Segment
from tests.search.support import Library
from tests.search.test_search import Away
from tests.support.tenants import Tenant


@pytest.mark.timeout(120)
async def test_names_are_found_by_words_alone(ports: Ports, tenant: Tenant) -> None:
    library = Library(ports, tenant)
    users = {each.end_user: await library.end_user() for each in conversations()}
    recordings: dict[str, str] = {}
    for each in conversations():
        segments = [
            Segment(start=one.start, end=one.end, text=one.text, confidence=1, speaker=one.speaker)
            for one in each.segments
        ]
        recordings[each.id] = await library.said(users[each.end_user], segments, language=each.language)
    names = {recording: conversation for conversation, recording in recordings.items()}
    made = Search(ports, Away())  # type: ignore[arg-type]
    found: list[float] = []
    for asked in questions():
        if asked.kind != "term":
            continue
        scope = None if asked.scope == LIBRARY else [recordings[asked.scope]]
        passages = await made.search(
            library.world_id, users[asked.end_user], asked.question, recording_ids=scope
        )
        spans = [
            SupportSpan(conversation=names[one.recording_id], start_ms=one.start_ms, end_ms=one.end_ms)
            for one in passages
        ]
        found.append(recall(asked, spans))
    assert len(found) > 20
    assert sum(found) / len(found) >= 0.85
