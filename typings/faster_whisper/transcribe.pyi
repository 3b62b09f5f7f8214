from collections.abc import Iterator, Sequence
from typing import Protocol

import ctranslate2
import ctranslate2.models
import numpy as np
import tokenizers
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

class Readable(Protocol):
    def read(self) -> bytes | None: ...

class Word:
    start: float
    end: float
    word: str
    probability: float

class Segment:
    seek: int
    start: float
    end: float
    text: str
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[Word] | None

class TranscriptionInfo:
    language: str
    language_probability: float

class WhisperModel:
    model: ctranslate2.models.Whisper
    hf_tokenizer: tokenizers.Tokenizer
    feature_extractor: FeatureExtractor
    def __init__(
        self,
        model_size_or_path: str,
        device: str = ...,
        compute_type: str = ...,
        cpu_threads: int = ...,
        num_workers: int = ...,
        local_files_only: bool = ...,
        files: dict[str, bytes | Readable] | None = ...,
    ) -> None: ...
    def encode(self, features: NDArray[np.float32]) -> ctranslate2.StorageView: ...

class BatchedInferencePipeline:
    def __init__(self, model: WhisperModel) -> None: ...
    def transcribe(
        self,
        audio: NDArray[np.float32],
        language: str | None = ...,
        *,
        beam_size: int = ...,
        repetition_penalty: float = ...,
        no_repeat_ngram_size: int = ...,
        condition_on_previous_text: bool = ...,
        without_timestamps: bool = ...,
        word_timestamps: bool = ...,
        clip_timestamps: Sequence[dict[str, float]] | None = ...,
        batch_size: int = ...,
    ) -> tuple[Iterator[Segment], TranscriptionInfo]: ...
