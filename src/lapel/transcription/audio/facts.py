"""What one pass over a file tells."""

from __future__ import annotations

import msgspec


class AudioFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of an audio file, whatever it was declared to be.

    `duration_ms`: counted samples. `mime_type`: as in the contract (`audio/ogg`, …). `peaks`: at most
    4,000 bytes, each the loudest sample of an equal share of the time, 255 being full scale. `pieces`:
    start and end in milliseconds, without gaps, cut at silences.
    """

    duration_ms: int
    channels: int
    sample_rate: int
    codec: str
    container: str
    mime_type: str
    peaks: bytes
    pieces: list[tuple[int, int]]
