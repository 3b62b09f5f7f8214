"""Voice activity detection: Silero VAD, which is part of faster-whisper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faster_whisper.vad import VadOptions, get_speech_timestamps

from lapel.slices.transcription.speech.messages import SAMPLE_RATE, Span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# With the default for the silence, which is 2 s, a lively talk would be one single stretch.
_OPTIONS = VadOptions(min_silence_duration_ms=300, speech_pad_ms=100)


def speech(samples: NDArray[np.float32], *, offset: float = 0.0) -> list[Span]:
    """Stretches of speech, in seconds, with `offset` (seconds) added.

    `samples`: 1-D float32, 16 kHz, mono, -1 to 1.
    """
    found = get_speech_timestamps(samples, _OPTIONS)
    return [(offset + each["start"] / SAMPLE_RATE, offset + each["end"] / SAMPLE_RATE) for each in found]
