"""Words that are spoken faster than people speak get less confidence: Whisper often errs in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from lapel.sample import speech
from lapel.slices.transcription.models.whisper.recognizer import Whisper
from tests.support.samples import decoded, faster
from tests.transcription.needs import needs_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lapel.slices.transcription.speech.transcript import Word


def words(whisper: Whisper, samples: NDArray[np.float64]) -> list[Word]:
    heard = whisper.listen(samples.astype(np.float32), offset=0, language="en", report=lambda _: None)
    return [word for segment in heard.segments for word in segment.words or ()]


@pytest.mark.deep
@needs_weights
def test_words_that_nobody_speaks_so_fast_are_doubtful_and_all_others_are_as_sure_as_before() -> None:
    whisper, sample = Whisper("", threads=2), decoded(speech().path) / 32768
    at_threefold_speed = words(whisper, faster(sample, 3))
    assert len(at_threefold_speed) > 30
    assert all(word.confidence <= 0.5 for word in at_threefold_speed)
    sure = [word.confidence for word in words(whisper, faster(sample, 2))]
    assert len(sure) == pytest.approx(70, abs=3)
    assert np.mean(sure) > 0.85
