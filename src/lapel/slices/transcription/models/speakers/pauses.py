"""Cuts speech at short pauses, because speakers change there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faster_whisper.vad import VadOptions, get_speech_timestamps

from lapel.slices.transcription.speech.messages import SAMPLE_RATE, Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

# A pause is two frames of the detector or longer. People answer each other within a fifth of a second, and a
# window across such a pause would contain two voices. For Whisper, only far longer pauses count.
_OPTIONS: Final = VadOptions(min_silence_duration_ms=64, speech_pad_ms=30)


def phrases(samples: NDArray[np.float32], speech: Sequence[Span]) -> list[Span]:
    """Cuts the pauses out of each stretch of `speech`.

    Speech is detected again here, with `_OPTIONS`. If no speech is detected in a stretch, the stretch is
    returned unchanged.

    `samples`: 1-D float32, 16 kHz, mono, -1 to 1. `speech`: in seconds, in order and not overlapping.
    """
    found = [
        (each["start"] / SAMPLE_RATE, each["end"] / SAMPLE_RATE)
        for each in get_speech_timestamps(samples, _OPTIONS)
    ]
    told: list[Span] = []
    first = 0
    for start, end in speech:
        while first < len(found) and found[first][1] <= start:
            first += 1
        inside: list[Span] = []
        index = first
        while index < len(found) and found[index][0] < end:
            inside.append((max(start, found[index][0]), min(end, found[index][1])))
            index += 1
        told += inside or [(start, end)]
    return told
