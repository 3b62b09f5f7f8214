"""A Whisper model in memory, and how many threads work at what."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from faster_whisper import WhisperModel

if TYPE_CHECKING:
    import numpy as np
    from ctranslate2 import StorageView
    from faster_whisper.transcribe import Readable
    from numpy.typing import NDArray

    from lapel.slices.transcription.models.weights.whisper_weights import Weights

# Batches that are decoded at the same time, each with its share of the threads.
_MOST_WORKERS = 4
# Bytes of weights; those of Whisper base are 145 MB. Models from this size on keep one worker with all
# threads: a second copy of their weights takes much memory, and nothing was measured with them.
_SMALL = 200_000_000

_LARGE_FILE = "model.bin"


class LoadedWhisper:
    """`model` works at `workers` batches at once. `name`: as in transcripts."""

    def __init__(self, found: Weights, threads: int) -> None:
        """`threads`: of all workers together.

        Raises DamagedPackage, and whatever the libraries raise for files that are no model.
        """
        self.name = found.name
        self._found = found
        self._file = _file(found)
        self._threads = threads
        self.workers = min(threads, _MOST_WORKERS) if _is_small(found) else 1
        self.model = _load(found, self.workers, threads // self.workers)

    @cached_property
    def for_one_window(self) -> WhisperModel:
        """The model for a piece that is a single window: all threads encode it, and one worker decodes it.

        Loads the weights once more, because CTranslate2 has the same number of threads for all that a model
        does. If that fails or the file has changed, `model` does all the work, more slowly.
        """
        if self.workers == 1:
            return self.model
        try:
            if _file(self._found) != self._file:
                return self.model
            return _OneWindow(self.model, _load(self._found, 1, self._threads))
        except Exception:  # noqa: BLE001 - whatever keeps the weights from being loaded a second time
            return self.model


class _OneWindow(WhisperModel):
    """A model whose windows another one of the same weights encodes."""

    def __init__(self, decodes: WhisperModel, encodes: WhisperModel) -> None:
        self.__dict__.update(vars(decodes))  # instead of loading a model
        self._encodes = encodes

    def encode(self, features: NDArray[np.float32]) -> StorageView:
        """Encode windows: (windows, mel bands, frames of 10 ms)."""
        return self._encodes.encode(features)


def _file(found: Weights) -> tuple[int, int, int, int] | None:
    """What changes when the weights of a folder are replaced. Those in packages have a checksum."""
    if found.folder is None:
        return None
    seen = (found.folder / _LARGE_FILE).stat()
    return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns


def _is_small(found: Weights) -> bool:
    """All models in packages are small."""
    return found.folder is None or (found.folder / _LARGE_FILE).stat().st_size < _SMALL


def _load(found: Weights, workers: int, threads: int) -> WhisperModel:
    """Load a model for `workers` batches at once, each on `threads` threads.

    Raises DamagedPackage, and whatever the libraries raise for files that are no model.
    """
    files: dict[str, bytes | Readable] | None = None
    if found.folder is None:
        files = {
            name: packaged.read() or b"" for name, packaged in found.packaged.items() if name != _LARGE_FILE
        }
        # The large file is passed as an object with `read`, so that this function holds no copy of its bytes.
        files[_LARGE_FILE] = found.packaged[_LARGE_FILE]
    place = found.name if found.folder is None else str(found.folder)
    model = WhisperModel(
        place,
        device="cpu",
        compute_type="int8",
        cpu_threads=threads,
        num_workers=workers,
        files=files,
        local_files_only=True,
    )
    if model.model.n_mels != model.feature_extractor.mel_filters.shape[0]:
        raise ValueError("preprocessor_config.json is missing or is another model's")
    return model
