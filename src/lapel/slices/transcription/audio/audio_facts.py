"""The result of one pass over a file."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

# The fields have bounds, because the answer comes from a process that an untrusted file may have taken over.
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Name: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[ -~]{0,100}\Z")]
_Peaks: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=4_000)]
# A day has some hundred pieces.
_Pieces: TypeAlias = Annotated[list[tuple[_Count, _Count]], msgspec.Meta(max_length=10_000)]
# The most stretches of damage that are kept, each with a gap at which the text is split.
MOST_DAMAGE = 500


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """A damaged stretch. Times in milliseconds of the decoded audio, in which a gap takes no time.

    `kind`: as in `file_places.py`; `short`: less audio than the file's header says. `end_ms`: where readable
    audio goes on; None if it does not. `missing_ms`: None if it is unknown.
    """

    kind: Literal["gap", "cut", "corrupt_bytes", "short"]
    start_ms: _Count
    end_ms: _Count | None
    missing_ms: _Count | None


_AllDamage: TypeAlias = Annotated[list[Damage], msgspec.Meta(max_length=MOST_DAMAGE + 1)]


class AudioFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Properties of an audio file, found by decoding the file, not by trusting its declared type.

    `duration_ms`: from the number of decoded samples. `sample_rate`: of the file, in Hz. `mime_type`: as in
    the contract (`audio/ogg`, …). `peaks`: at most 4,000 bytes, each the loudest sample of an equal share of
    the time; 255 is full scale. `pieces`: start and end in milliseconds, without gaps, cut at silences.
    `damage`: in order; empty for a whole file.
    """

    duration_ms: _Count
    channels: _Count
    sample_rate: _Count
    codec: _Name
    container: _Name
    mime_type: _Name
    peaks: _Peaks
    pieces: _Pieces
    damage: _AllDamage = msgspec.field(default_factory=list[Damage])
