"""With two threads, two batches of windows are decoded at the same time, whatever the number of windows."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lapel.slices.transcription.models.whisper import recognizer
from lapel.slices.transcription.models.whisper.recognizer import Whisper
from tests.support.patience import LONG

RATE = 16_000  # Hz


class Decoder:
    """Hears the number of the samples in each window. A batch ends only when another one has begun too."""

    together = threading.Barrier(2)

    def __init__(self, _model: object) -> None:
        pass

    def transcribe(
        self, samples: Any, _language: str, *, clip_timestamps: list[dict[str, float]], **_: Any
    ) -> tuple[Iterator[Any], None]:
        self.together.wait(LONG)
        return (self._raw(samples, **clip) for clip in clip_timestamps), None

    def _raw(self, samples: Any, start: float, end: float) -> Any:
        number = int(samples[int(start * RATE) + RATE])
        words = [
            SimpleNamespace(start=at, end=at + 0.5, word=f" {number}", probability=0.9)
            for at in (start + 1, end - 1)
        ]
        return SimpleNamespace(
            seek=int(100 * start), words=words, compression_ratio=1, no_speech_prob=0, avg_logprob=0
        )


@pytest.mark.parametrize("count", [2, 4, 10])  # ten are not three batches for one and two for the other
def test_two_batches_at_once_and_the_words_in_order(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    spans = [(at + 0.5, at + 29.5) for at in range(0, 30 * count, 30)]
    monkeypatch.setattr(recognizer, "speech", lambda _: spans)
    monkeypatch.setattr(recognizer, "BatchedInferencePipeline", Decoder)
    whisper = Whisper("", threads=2)
    model: Any = SimpleNamespace(model=SimpleNamespace(is_multilingual=False))
    loaded: Any = SimpleNamespace(name="model", model=model, for_one_window=model, workers=2)
    whisper._loaded = loaded
    samples = np.repeat(np.arange(count, dtype=np.float32), 30 * RATE)
    told: list[float] = []
    heard = whisper.listen(samples, offset=0, language=None, report=told.append)
    words = [word for segment in heard.segments for word in segment.words or ()]
    assert [word.word for word in words] == [str(each) for each in range(count) for _ in range(2)]
    assert all(first.end <= second.start for first, second in itertools.pairwise(words))
    assert told == [done / count for done in range(1, count + 1)]
