"""The result of one pass over a file."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

# The fields have bounds, because the answer comes from a process that an untrusted file may have taken over.
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Name: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[ -~]{0,100}\Z")]
_Peaks: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=4_000)]
# A day has some hundred pieces.
_Pieces: TypeAlias = Annotated[list[tuple[_Count, _Count]], msgspec.Meta(max_length=10_000)]


class AudioFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Properties of an audio file, found by decoding the file, not by trusting its declared type.

    `duration_ms`: from the number of decoded samples. `sample_rate`: of the file, in Hz. `mime_type`: as in
    the contract (`audio/ogg`, …). `peaks`: at most 4,000 bytes, each the loudest sample of an equal share of
    the time; 255 is full scale. `pieces`: start and end in milliseconds, without gaps, cut at silences.
    """

    duration_ms: _Count
    channels: _Count
    sample_rate: _Count
    codec: _Name
    container: _Name
    mime_type: _Name
    peaks: _Peaks
    pieces: _Pieces
