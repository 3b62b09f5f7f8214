"""A question, with all that decides which recordings may answer it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.ask.questions.asked_time import AskedTime, asked_time

if TYPE_CHECKING:
    from datetime import tzinfo

    from lapel.slices.ask.rows import TurnRow
    from lapel.slices.ask.wire import ScopeType

# UTF-16 units of a query. A shorter one is cut at any place.
_QUERY = 1000


class AskedQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """A question, and whose recordings may answer it.

    `recording_ids`: of a `recording` or `selected` scope. `after` (inclusive), `before` (exclusive): only
    recordings of that time. `turns`: the conversation before, oldest first. `asked_at`: in the asker's zone.
    `second_reader`: whether the model that answers reads each sentence of its answer again; None: if it is a
    model that does so without being told.
    """

    world_id: int
    end_user_id: str
    scope_type: ScopeType
    recording_ids: list[str]
    question: str
    asked_at: datetime
    after: datetime | None = None
    before: datetime | None = None
    turns: list[TurnRow] = []
    second_reader: bool | None = None

    @property
    def zone(self) -> tzinfo:
        """Where the asker is."""
        return self.asked_at.tzinfo or UTC

    @property
    def time(self) -> AskedTime:
        """What the question says about the time of recordings."""
        return asked_time(self.question, self.asked_at.date())

    @property
    def queries(self) -> list[str]:
        """What to search: the question, and the question in the context of the one before it."""
        earlier = [each.content for each in self.turns if each.role == "user"]
        alone = _cut(self.question)
        return [alone, _cut(f"{self.question}\n{earlier[-1]}")] if earlier else [alone]


def _cut(text: str) -> str:
    """At most `_QUERY` UTF-16 units of a text."""
    return text.encode("utf-16-le")[: 2 * _QUERY].decode("utf-16-le", "ignore")
