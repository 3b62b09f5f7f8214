"""Says in words what is damaged. This runs in the parent, because the child may be taken over by a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.timed_warnings import TimedWarning
from lapel.slices.transcription.speech.transcript import clock

if TYPE_CHECKING:
    from lapel.slices.transcription.audio.audio_facts import AudioFacts, Damage

# The most warnings about one audio, without the last one, which sums up all that follow.
_MOST = 20
# A client may count the seconds by another clock, and begins to count before the first sample.
_TOLERANCE_MS = 2_000
_TOLERANCE_SHARE = 0.01

_CODES = {
    "gap": "audio_gap",
    "cut": "audio_cut",
    "corrupt_bytes": "audio_corrupt_bytes",
    "short": "audio_shorter_than_claimed",
}
SUMMARY = "audio_more_damage"
CODES = frozenset((*_CODES.values(), SUMMARY))
"""The codes of warnings about missing audio."""


def warnings_of(facts: AudioFacts, claimed_ms: int | None) -> list[TimedWarning]:
    """The warnings about an audio, in order; none for a whole one.

    `claimed_ms`: the duration that a client declared. The audio may be shorter by two seconds and a hundredth
    of this duration.
    """
    damage = list(facts.damage)
    short = 0 if claimed_ms is None else _shortfall(facts, claimed_ms)
    unknown = [each for each in damage if each.missing_ms is None]
    told = [
        _warning(each, short if short and unknown == [each] else each.missing_ms, facts.duration_ms)
        for each in damage
    ]
    if len(told) > _MOST:
        told[_MOST:] = [_summary(told[_MOST:])]
    if claimed_ms is not None and short and len(unknown) != 1:
        told.append(
            TimedWarning(
                code=_CODES["short"],
                message=f"The client declared {_length(claimed_ms)} of audio, and the file holds"
                f" {_length(facts.duration_ms)}.",
                start_ms=facts.duration_ms,
                missing_ms=short,
            )
        )
    return told


def _shortfall(facts: AudioFacts, claimed_ms: int) -> int:
    """By how much the audio is shorter than claimed, beyond what is known to be missing; 0 within the
    tolerance."""
    short = claimed_ms - facts.duration_ms - sum(each.missing_ms or 0 for each in facts.damage)
    return short if short > _TOLERANCE_MS + claimed_ms * _TOLERANCE_SHARE else 0


def _warning(damage: Damage, missing_ms: int | None, duration_ms: int) -> TimedWarning:
    return TimedWarning(
        code=_CODES[damage.kind],
        message=_message(damage, missing_ms, duration_ms),
        start_ms=damage.start_ms,
        end_ms=damage.end_ms,
        missing_ms=missing_ms,
    )


def _message(damage: Damage, missing_ms: int | None, duration_ms: int) -> str:
    at = clock(damage.start_ms / 1000)
    if damage.kind == "gap":
        lost = "Audio of unknown length is" if missing_ms is None else f"{_length(missing_ms)} of audio are"
        return f"{lost} missing at {at}: a part of the file is damaged or lost."
    if damage.kind == "cut":
        lost = "" if not missing_ms else f", {_length(missing_ms)} too early"
        return f"The file breaks off at {at}{lost}."
    if damage.kind == "corrupt_bytes":
        return f"The file has damaged bytes at {at}; audio may be missing there."
    claimed = _length(duration_ms + (missing_ms or 0))
    return (
        f"The file says that it holds {claimed} of audio or more, and {_length(duration_ms)} can be decoded."
    )


def _summary(rest: list[TimedWarning]) -> TimedWarning:
    missing = [each.missing_ms for each in rest]
    return TimedWarning(
        code=SUMMARY,
        message=f"The audio is damaged at {len(rest)} more places or more, from"
        f" {clock((rest[0].start_ms or 0) / 1000)} on.",
        start_ms=rest[0].start_ms,
        end_ms=rest[-1].end_ms,
        missing_ms=None if None in missing else sum(each or 0 for each in missing),
    )


def _length(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.1f} s"
