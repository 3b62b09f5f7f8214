"""Speech with known words, of any length: the conversations of the tests and the sample, joined."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from lapel.sample import speech
from tests.support.conversations import Conversation
from tests.support.samples import RATE, decoded

_PAUSE = np.zeros(RATE, np.int16)
_FRAME = RATE // 50
_BIT_RATE = 32_000  # bits per second, as from a device


@dataclass(frozen=True, slots=True)
class Speech:
    """An audio file and its words."""

    name: str
    path: Path
    text: str
    seconds: float


def joined(folder: Path, name: str, *, rounds: int) -> Speech:
    """All the speech, repeated `rounds` times with a second of silence between, as Ogg/Opus."""
    parts: list[NDArray[np.int16]] = []
    texts: list[str] = []
    for _ in range(rounds):
        for conversation in (Conversation("two-speakers"), Conversation("three-speakers")):
            parts += [conversation.samples(), _PAUSE]
            texts.append(conversation.text)
        parts += [decoded(speech().path), _PAUSE]
        texts.append(speech().text)
    samples = np.concatenate(parts)
    path = folder / f"{name}.opus"
    encode(path, samples)
    return Speech(name, path, " ".join(texts), len(samples) / RATE)


def sample() -> Speech:
    """The sample that comes with Lapel: one person reads."""
    return Speech("sample", speech().path, speech().text, speech().duration_ms / 1000)


def part_of_sample(folder: Path, *, start: float = 0, seconds: float) -> Path:
    """So many seconds of the sample, from the second `start` on, as Ogg/Opus."""
    path = folder / f"from-{start}.opus"
    encode(path, decoded(speech().path)[int(start * RATE) : int((start + seconds) * RATE)])
    return path


def encode(path: Path, samples: NDArray[np.int16]) -> None:
    """Write samples (16 kHz, mono) as Ogg/Opus."""
    with av.open(str(path), "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=RATE, layout="mono")
        stream.bit_rate = _BIT_RATE
        for start in range(0, len(samples) - _FRAME + 1, _FRAME):
            frame = av.AudioFrame.from_ndarray(
                samples[start : start + _FRAME].reshape(1, -1), format="s16", layout="mono"
            )
            frame.sample_rate, frame.pts = RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
