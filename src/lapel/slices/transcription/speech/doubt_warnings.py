"""Says where the words of a transcript are probably not what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.timed_warnings import TimedWarning
from lapel.slices.transcription.speech.transcript import clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.slices.transcription.speech.messages import Heard, Span

WORDS_IN_DOUBT = "words_in_doubt"
"""The code of these warnings."""

# The most warnings about one transcript, without the last one, which sums up all that follow.
_MOST = 20


def doubt_warnings(heard: Sequence[Heard]) -> list[TimedWarning]:
    """A warning for each stretch of doubtful words, in order. `heard`: of all pieces, in order."""
    spans = [span for each in heard for span in each.doubtful]
    told = [_warning(span) for span in spans[:_MOST]]
    if len(spans) > _MOST:
        rest = spans[_MOST:]
        told.append(
            TimedWarning(
                code=WORDS_IN_DOUBT,
                message=f"{len(rest)} more stretches of words are in doubt, from {clock(rest[0][0])} on.",
                start_ms=_ms(rest[0][0]),
                end_ms=_ms(rest[-1][1]),
            )
        )
    return told


def _warning(span: Span) -> TimedWarning:
    start, end = span
    return TimedWarning(
        code=WORDS_IN_DOUBT,
        message=f"The words from {clock(start)} to {clock(end)} are in doubt: the model repeated itself, or"
        " heard more than people can say.",
        start_ms=_ms(start),
        end_ms=_ms(end),
    )


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
