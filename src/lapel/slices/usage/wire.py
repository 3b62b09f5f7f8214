"""The structs of the usage of a project."""

from __future__ import annotations

from typing import Annotated

import msgspec

from lapel.foundation.http.input.fields import Count, Timestamp


class TranscribedToday(msgspec.Struct, frozen=True, kw_only=True):
    """Audio that was taken for transcription on this day (UTC). A `limit_ms` of null is no limit."""

    duration_ms: Count
    limit_ms: Count | None
    resets_at: Annotated[
        Timestamp, msgspec.Meta(description="The end of the day, when the count starts again.")
    ]


class ModelsToday(msgspec.Struct, frozen=True, kw_only=True):
    """What language models of services used on this day (UTC). A `limit_tokens` of null is no limit."""

    calls: Count
    input_tokens: Count
    output_tokens: Count
    cached_tokens: Annotated[Count, msgspec.Meta(description="Input from services' caches.")]
    limit_tokens: Annotated[Count | None, msgspec.Meta(description="Of input and output together.")]
    cost_usd: Annotated[
        float,
        msgspec.Meta(ge=0, description="At the prices that the operator has set; other calls cost nothing."),
    ]
    resets_at: Annotated[
        Timestamp, msgspec.Meta(description="The end of the day, when the count starts again.")
    ]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The usage of one world. Deleted resources and unfinished uploads do not count."""

    project_id: str
    end_users: Count
    devices: Count
    recordings: Count
    media_bytes: Annotated[Count, msgspec.Meta(description="Bytes of all uploaded media.")]
    transcribed_today: TranscribedToday
    language_models_today: ModelsToday
