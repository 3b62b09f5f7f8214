"""A single window is encoded by all threads, and has the same words; large models are loaded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lapel.slices.transcription.models.weights import whisper_weights
from lapel.slices.transcription.models.weights.packages import DamagedPackage
from lapel.slices.transcription.models.whisper import loaded_whisper
from lapel.slices.transcription.models.whisper.loaded_whisper import LoadedWhisper
from lapel.slices.transcription.models.whisper.recognizer import Whisper
from lapel.slices.transcription.speech.failures import SpeechError
from tests.support.conversations import Conversation
from tests.support.samples import RATE


@pytest.fixture(scope="module")
def samples() -> NDArray[np.float32]:
    """Ten seconds of a conversation."""
    return (Conversation("two-speakers").samples()[: 10 * RATE] / 2**15).astype(np.float32)


def words(whisper: Whisper, samples: NDArray[np.float32]) -> list[tuple[str, float, float]]:
    heard = whisper.listen(samples, offset=0, language="en", report=lambda _: None)
    return [(each.word, each.start, each.end) for segment in heard.segments for each in segment.words or ()]


def test_a_single_window_has_the_same_words_from_both(
    samples: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    whisper = Whisper("", threads=2)
    encoded = words(whisper, samples)
    loaded: Any = whisper._loaded
    assert loaded.workers == 2
    alone = loaded.for_one_window
    assert alone is not loaded.model
    assert alone.model is loaded.model.model, "the same model decodes"
    monkeypatch.setattr(loaded, "for_one_window", loaded.model)
    assert len(encoded) > 15
    assert words(whisper, samples) == encoded


def test_several_windows_never_load_the_weights_twice(samples: NDArray[np.float32]) -> None:
    whisper = Whisper("", threads=2)
    words(whisper, np.concatenate([samples] * 4))
    assert "for_one_window" not in vars(whisper._loaded)


def test_a_large_model_keeps_one_worker_with_all_threads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = whisper_weights.here("")
    for name, packaged in found.packaged.items():
        (tmp_path / name).write_bytes(packaged.read() or b"")
    folder = whisper_weights.here(str(tmp_path))
    assert LoadedWhisper(folder, 2).workers == 2
    monkeypatch.setattr(loaded_whisper, "_SMALL", (tmp_path / "model.bin").stat().st_size)
    loaded = LoadedWhisper(folder, 2)
    assert loaded.workers == 1
    assert loaded.for_one_window is loaded.model


def test_weights_that_are_damaged_meanwhile_are_told_as_such(
    samples: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    whisper = Whisper("", threads=2)
    whisper.load()

    def damaged(*_: object) -> None:
        raise DamagedPackage("the weights are damaged")

    monkeypatch.setattr(loaded_whisper, "_load", damaged)
    with pytest.raises(SpeechError, match="is damaged"):
        words(whisper, samples)
