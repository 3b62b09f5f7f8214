"""The names and payloads of this slice's jobs."""

from __future__ import annotations

import msgspec

EMBED = "search.embed"


class EmbedTranscript(msgspec.Struct, frozen=True):
    """A transcript waits for vectors. The worker begins with the next one in order, which may be another."""

    world_id: int
    recording_id: str
