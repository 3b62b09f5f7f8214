"""Speaker embeddings: CAM++ of 3D-Speaker on onnxruntime, with features by kaldi-native-fbank.

Source: Wang et al., "CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware
Masking", Interspeech 2023 (arXiv:2303.00332).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import kaldi_native_fbank as knf
import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument

from lapel.slices.transcription.models.speakers.unit_vectors import unit_vectors
from lapel.slices.transcription.models.weights import speaker_weights
from lapel.slices.transcription.speech.failures import SpeechError
from lapel.slices.transcription.speech.messages import SAMPLE_RATE, Span

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_BINS: Final = 80
# Samples. A frame of features every 10 ms describes 25 ms of sound.
_SHIFT: Final = SAMPLE_RATE // 100
_FRAME: Final = SAMPLE_RATE // 40
# Samples in a list for kaldi-native-fbank, where each takes 32 bytes.
_PART: Final = 10 * SAMPLE_RATE
# Measured on two cores: larger batches are no faster, and each window takes 7 MB. Batches in parallel, with a
# thread each, take half the time of batches one by one on two threads, because the layers are small.
_BATCH: Final = 4
# Each thread takes 30 MB for its batch.
_MOST_THREADS: Final = 8


class SpeakerModel:
    """The loaded model. `setting`: as for `speaker_weights.load`. `threads`: how many threads the model may
    use; more than eight count as eight.

    Raises SpeechError when there are no weights, or when the weights are not those of this model.
    """

    def __init__(self, setting: Path | None, *, threads: int) -> None:
        tensors = speaker_weights.load(setting)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # faults come as exceptions
        names = speaker_weights.names()
        values = [ort.OrtValue.ortvalue_from_numpy(tensors[name]) for name in names]
        options.add_external_initializers(names, values)
        try:
            self._session = ort.InferenceSession(
                str(speaker_weights.GRAPH), options, providers=["CPUExecutionProvider"]
            )
        except (Fail, InvalidArgument) as fault:  # tensors of other shapes
            message = f"The weights of the speaker model do not fit ({fault})."
            raise SpeechError("processing_error", message, remedy=speaker_weights.REMEDY) from None
        self._pool = ThreadPoolExecutor(min(threads, _MOST_THREADS))

    def embed(self, samples: NDArray[np.float32], windows: Sequence[Span]) -> NDArray[np.float32]:
        """An embedding for each window: float32, `len(windows)` x 192, of unit length.

        Similar voices have similar embeddings. Several threads may call this at once; together they use the
        model's threads. `samples`: 1-D float32, 16 kHz, mono, -1 to 1. `windows`: in seconds, within the
        samples, each at least 0.03 s long. The features of all samples are in memory at once, 32 kB for each
        second of audio, so pass long recordings in parts.
        """
        frames = _features(samples)
        of_length: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for index, (start, end) in enumerate(windows):
            first = round(start * SAMPLE_RATE / _SHIFT)
            count = (round((end - start) * SAMPLE_RATE) - _FRAME) // _SHIFT + 1
            of_length[count].append((index, first))
        found = np.zeros((len(windows), speaker_weights.DIMENSIONS), np.float32)

        def run(batch: tuple[int, list[tuple[int, int]]]) -> None:
            count, members = batch
            stacked = np.stack([frames[first : first + count] for _, first in members])
            stacked -= stacked.mean(axis=1, keepdims=True)
            found[[index for index, _ in members]] = self._session.run(None, {"x": stacked})[0]

        list(self._pool.map(run, _batches(of_length)))
        return unit_vectors(found)


def _batches(
    of_length: dict[int, list[tuple[int, int]]],
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    for count, members in of_length.items():
        for first in range(0, len(members), _BATCH):
            yield count, members[first : first + _BATCH]


def _features(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Kaldi's log mel filter bank, float32, frames x 80. No dither: equal samples give equal features."""
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = SAMPLE_RATE
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = _BINS
    bank = knf.OnlineFbank(options)
    for first in range(0, len(samples), _PART):
        bank.accept_waveform(SAMPLE_RATE, samples[first : first + _PART].tolist())
    bank.input_finished()
    found = np.empty((bank.num_frames_ready, _BINS), np.float32)
    for index in range(len(found)):
        found[index] = bank.get_frame(index)
    return found
