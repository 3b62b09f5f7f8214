"""A single window is encoded by all threads, and has the same words; large models are loaded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lapel.slices.transcription.models.weights import whisper_weights
from lapel.slices.transcription.models.weights.packages import DamagedPackage
from lapel.slices.transcription.models.weights.whisper_weights import Weights
from lapel.slices.transcription.models.whisper import loaded_whisper
from lapel.slices.transcription.models.whisper.loaded_whisper import LoadedWhisper
from lapel.slices.transcription.models.whisper.recognizer import Whisper
from tests.support.conversations import Conversation
from tests.support.samples import RATE


@pytest.fixture(scope="module")
def samples() -> NDArray[np.float32]:
    """Ten seconds of a conversation."""
    return (Conversation("two-speakers").samples()[: 10 * RATE] / 2**15).astype(np.float32)


def words(whisper: Whisper, samples: NDArray[np.float32]) -> list[tuple[str, float, float]]:
    heard = whisper.listen(samples, offset=0, language="en", report=lambda _: None)
    return [(each.word, each.start, each.end) for segment in heard.segments for each in segment.words or ()]


@pytest.mark.deep
def test_a_single_window_has_the_same_words_from_both(
    samples: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[tuple[int, int]] = []
    encoded: list[tuple[int, ...]] = []
    load: Any = loaded_whisper._load

    def loading(found: Weights, workers: int, each: int) -> Any:
        threads.append((workers, each))
        return load(found, workers, each)

    monkeypatch.setattr(loaded_whisper, "_load", loading)
    whisper = Whisper("", threads=2)
    once = words(whisper, samples)
    assert threads == [(2, 1), (1, 2)]
    loaded: Any = whisper._loaded
    alone = loaded.for_one_window
    assert alone.model is loaded.model.model, "the same model decodes"
    encode = alone._encodes.encode

    def encoding(features: NDArray[np.float32]) -> Any:
        encoded.append(features.shape)
        return encode(features)

    monkeypatch.setattr(alone._encodes, "encode", encoding)
    assert words(whisper, samples) == once
    assert encoded == [(1, 80, 3000)]
    monkeypatch.setattr(loaded, "for_one_window", loaded.model)
    assert len(once) > 15
    assert words(whisper, samples) == once


@pytest.mark.deep
def test_several_windows_never_load_the_weights_twice(samples: NDArray[np.float32]) -> None:
    whisper = Whisper("", threads=2)
    words(whisper, np.concatenate([samples] * 4))
    assert "for_one_window" not in vars(whisper._loaded)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the default model."""
    made = tmp_path_factory.mktemp("model")
    for name, packaged in whisper_weights.here("").packaged.items():
        (made / name).write_bytes(packaged.read() or b"")
    return made


def test_a_large_model_keeps_one_worker_with_all_threads(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    found = whisper_weights.here(str(folder))
    threads: list[tuple[int, int]] = []
    monkeypatch.setattr(loaded_whisper, "_load", lambda _, workers, each: threads.append((workers, each)))
    assert LoadedWhisper(found, 2).workers == 2
    monkeypatch.setattr(loaded_whisper, "_SMALL", (folder / "model.bin").stat().st_size)
    loaded = LoadedWhisper(found, 2)
    assert loaded.workers == 1
    assert loaded.for_one_window is loaded.model
    assert threads == [(2, 1), (1, 2)]


def test_the_workers_have_no_more_threads_than_there_are(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    found = whisper_weights.here(str(folder))
    made: list[int] = []
    monkeypatch.setattr(loaded_whisper, "_load", lambda _, workers, each: made.append(workers * each))
    for threads in range(1, 33):
        LoadedWhisper(found, threads)
    assert all(0 < count <= threads for threads, count in enumerate(made, 1))
    assert (made[0], made[5], made[7]) == (1, 4, 8)


def test_a_file_that_was_replaced_meanwhile_is_not_mixed_with_the_former_one(folder: Path) -> None:
    loaded = LoadedWhisper(whisper_weights.here(str(folder)), 2)
    (folder / "model.bin").touch()
    assert loaded.for_one_window is loaded.model


def test_weights_that_cannot_be_loaded_twice_still_work(
    samples: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    whisper = Whisper("", threads=2)
    whisper.load()

    def gone(*_: object) -> None:
        raise DamagedPackage("the weights are damaged")

    monkeypatch.setattr(loaded_whisper, "_load", gone)
    assert len(words(whisper, samples)) > 15
