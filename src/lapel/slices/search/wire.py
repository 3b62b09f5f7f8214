"""The contract's structs of the search."""

from __future__ import annotations

from typing import Annotated

import msgspec

from lapel.foundation.http.input.fields import Moment, Timestamp

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
MOST_RESULTS = 50
USUAL_RESULTS = 8


class SearchRecordings(msgspec.Struct, frozen=True, kw_only=True):
    """A question, or some words, and the recordings in which to look for an answer."""

    query: Annotated[str, msgspec.Meta(min_length=1, max_length=1000, examples=["When do we ship?"])]
    end_user_id: (
        Annotated[_Id, msgspec.Meta(description="Required, unless the key is scoped to one end user.")] | None
    ) = None
    recording_ids: (
        Annotated[
            list[_Id], msgspec.Meta(max_length=500, description="Only these recordings of the end user.")
        ]
        | None
    ) = None
    recorded_after: (
        Annotated[
            Moment, msgspec.Meta(description="Only recordings with `recorded_at` at this time or later.")
        ]
        | None
    ) = None
    recorded_before: (
        Annotated[Moment, msgspec.Meta(description="Only recordings with `recorded_at` before this time.")]
        | None
    ) = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_RESULTS)] = USUAL_RESULTS


class FoundPassage(msgspec.Struct, frozen=True, kw_only=True):
    """A passage of a transcript. `speaker` is null if it is unknown, or if the passage has several speakers.

    Times in milliseconds from the start of the recording. Scores order the results of one search; scores of
    two searches cannot be compared.
    """

    chunk_id: str
    recording_id: str
    transcription_id: str
    chunk_text: str
    speaker: str | None
    start_ms: int
    end_ms: int
    recorded_at: Timestamp | None
    score: float


class SearchResults(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, best first."""

    results: list[FoundPassage]
