"""Diarization in the engine's process: embed the voices of a piece, then group all voices of a recording.

Speech without its pauses (pauses.py) → windows of 1.5 seconds (voice_windows.py) → embeddings (campplus.py) →
agglomerative clustering (clustering.py). campplus.py and clustering.py name their sources.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from lapel.foundation.workers.worker_child import open_file
from lapel.slices.transcription.models.speakers import voice_windows
from lapel.slices.transcription.models.speakers.clustering import cluster
from lapel.slices.transcription.models.speakers.unit_vectors import unit_vectors
from lapel.slices.transcription.models.weights.speaker_weights import DIMENSIONS
from lapel.slices.transcription.speech.messages import SAMPLE_RATE, Group, Groups, Span, Voices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lapel.slices.transcription.models.speakers.campplus import SpeakerModel

# Seconds of sound in a block: 4 MB of samples, 2 MB of features.
_BLOCK: Final = 60.0
# While the voices of a block are embedded, the pauses and features of the next one are found. These take a
# fifth of the time, on one thread.
_BLOCKS_AT_ONCE: Final = 2
# Seconds. Shorter windows describe a voice less well, so they only join the groups that longer windows make.
_TELLING: Final = 1.2


def describe(
    pcm: str | Path, speech: Sequence[Span], *, weights: Path | None = None, threads: int = 2
) -> Voices:
    """Cut stretches of a PCM file into windows, and compute an embedding of the voice in each window.

    `pcm`: 16 kHz, mono, signed 16-bit little-endian. `speech`: the stretches, in seconds; they may be in any
    order, overlap, and reach beyond the file's end. `weights`: the setting `speaker_model`. The model is
    loaded at the first call and stays loaded.

    Raises SpeechError when there are no usable weights, OSError when the file cannot be read.
    """
    # Imported here, because `group` needs none of the models' libraries.
    from lapel.slices.transcription.models.speakers.pauses import phrases  # noqa: PLC0415

    with open_file(str(pcm)) as file:
        count = os.fstat(file.fileno()).st_size // 2
        if not count or not speech:
            return Voices(windows=[], embeddings=b"")
        samples = np.memmap(file, "<i2", "r", shape=(count,))
    model = _model(weights, threads)

    def embedded(block: list[Span]) -> tuple[list[Span], bytes]:
        start = block[0][0]
        first, last = round(start * SAMPLE_RATE), round(block[-1][1] * SAMPLE_RATE)
        heard = samples[first:last].astype(np.float32) / np.float32(32768)
        inside = voice_windows.windows(
            phrases(heard, [(left - start, right - start) for left, right in block])
        )
        vectors = model.embed(heard, inside).astype("<f2").tobytes() if inside else b""
        return [(round(start + left, 2), round(start + right, 2)) for left, right in inside], vectors

    blocks = _blocks(voice_windows.apart(speech), len(samples) / SAMPLE_RATE)
    with ThreadPoolExecutor(min(threads, _BLOCKS_AT_ONCE)) as pool:
        found = list(pool.map(embedded, blocks))
    return Voices(
        windows=[window for inside, _ in found for window in inside],
        embeddings=b"".join(vectors for _, vectors in found),
    )


def group(request: Group) -> Groups:
    """The speaker of each window. Raises ValueError if the embeddings have not 192 numbers per window."""
    found = [window for voices in request.voices for window in voices.windows]
    embeddings = np.concatenate([_vectors(voices) for voices in request.voices] or [_NOBODY])
    order = sorted(range(len(found)), key=lambda index: found[index])
    long_enough = [found[index][1] - found[index][0] >= _TELLING - 1e-6 for index in order]
    labels = cluster(
        embeddings[order],
        np.array(long_enough, bool),
        num_speakers=request.num_speakers,
        min_speakers=request.min_speakers,
        max_speakers=request.max_speakers,
    )
    placed = dict(zip(order, labels, strict=True))
    return Groups(windows=found, labels=[placed[index] for index in range(len(found))])


@lru_cache(maxsize=1)
def _model(weights: Path | None, threads: int) -> SpeakerModel:
    from lapel.slices.transcription.models.speakers.campplus import SpeakerModel  # noqa: PLC0415

    return SpeakerModel(weights, threads=threads)


_NOBODY: Final[NDArray[np.float32]] = np.zeros((0, DIMENSIONS), np.float32)


def _vectors(voices: Voices) -> NDArray[np.float32]:
    """The embeddings as float32, windows x 192. They are scaled to length 1, because half precision changed
    the length."""
    halves = np.frombuffer(voices.embeddings, "<f2")
    if halves.size != len(voices.windows) * DIMENSIONS:
        raise ValueError(f"{len(voices.windows)} windows with {halves.size} numbers")
    return unit_vectors(np.nan_to_num(halves.astype(np.float32)).reshape(-1, DIMENSIONS))


def _blocks(speech: Sequence[Span], duration: float) -> Iterator[list[Span]]:
    """The stretches within `duration` seconds, in blocks. A stretch that is longer than a block is cut."""
    block: list[Span] = []
    for start, end in _within(speech, duration):
        if block and end - block[0][0] > _BLOCK:
            yield block
            block = []
        block.append((start, end))
    if block:
        yield block


def _within(speech: Sequence[Span], duration: float) -> Iterator[Span]:
    for start, end in speech:
        last = min(end, duration)
        while last - start > _BLOCK:
            yield (start, start + _BLOCK)
            start += _BLOCK  # noqa: PLW2901
        if last > start:
            yield (start, last)
