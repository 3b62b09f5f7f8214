"""Whisper, by faster-whisper on CTranslate2: speech in windows, several at a time, words with times."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel
from faster_whisper.audio import pad_or_trim

from lapel.transcription.engine import weights
from lapel.transcription.engine.activity import speech
from lapel.transcription.engine.languages import LANGUAGES, primary
from lapel.transcription.engine.messages import SAMPLE_RATE, Heard
from lapel.transcription.engine.packages import DamagedPackage
from lapel.transcription.engine.sentences import Spoken, segments
from lapel.transcription.engine.windows import Window, pack
from lapel.transcription.failures import SpeechError
from lapel.transcription.transcript import share

if TYPE_CHECKING:
    from ctranslate2 import StorageView
    from faster_whisper.transcribe import Readable
    from faster_whisper.transcribe import Segment as Raw
    from numpy.typing import NDArray

    from lapel.transcription.transcript import Segment

    Samples: TypeAlias = NDArray[np.float32]
    Report: TypeAlias = Callable[[float], None]

# Greedy decoding takes a sixth less time, is a little worse and falls into loops far more easily. Four
# windows at a time are as quick as eight and need 100 MB less.
_BEAM = 5
_BATCH = 4

_LARGE = "model.bin"

# As in Whisper's own decoder: text that compresses better than this repeats itself, and a window that it
# takes for silence, and of whose words it is not sure, is silent.
_REPETITIVE = 2.4
_NO_SPEECH = 0.6
_UNSURE = -1.0
# So many tokens in a row are not said twice when a window is heard again because of its repetitions. Then
# made-up words get the low probabilities that they deserve.
_NGRAMS = 3

# Whisper may stop before a window ends. What is left of it, from so many samples on, it hears again.
_REST = 3 * SAMPLE_RATE
_TURNS = 3
# Seconds. The last word before it stopped may seem to go on and on.
_LONGEST_WORD = 4.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Language:
    code: str
    probability: float | None  # None: it was not detected


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """A window, or what is left of it. `index`: which of all windows it belongs to."""

    index: int
    window: Window


class Whisper:
    """One model, loaded when it is first needed. Not for several threads at once."""

    def __init__(self, setting: str, *, threads: int) -> None:
        """`setting`: a folder, a name or empty, see weights.py. `threads`: at least 1."""
        self.setting = setting
        self._threads = threads
        self._loaded: tuple[str, _Model] | None = None

    def load(self) -> str:
        """Load the model if it is not yet; its name.

        Raises SpeechError, with the ways to bring weights, and NotHere for what has to be downloaded first.
        """
        if self._loaded is None:
            found = weights.here(self.setting)
            try:
                self._loaded = found.name, _load(found, self._threads)
            except DamagedPackage as fault:
                raise SpeechError("processing_error", f"{fault}. {weights.REMEDY}") from None
            except Exception as fault:  # tokenizers raises nothing narrower
                message = f"The Whisper model {found.name} cannot be loaded ({type(fault).__name__})."
                raise SpeechError("processing_error", f"{message} {weights.REMEDY}") from fault
        return self._loaded[0]

    def listen(self, samples: Samples, *, offset: float, language: str | None, report: Report) -> Heard:
        """What is said in 16 kHz mono samples, -1 to 1. `offset`, in seconds, is added to all times.

        `language`: None to detect it. A model for English answers in English, whatever is asked.
        Raises SpeechError for a language that the model does not know, or when there is no model.
        """
        name = self.load()
        told = None if language is None else self._known(language)
        spans = speech(samples)
        runs = [(int(start * SAMPLE_RATE), int(end * SAMPLE_RATE)) for start, end in spans]
        windows = pack(runs, samples)
        if not windows:
            return _nothing(name)
        parts = _spread_first(windows)
        told = told or self._detect(samples, parts[:_BATCH])
        heard = self._hear(samples, parts, told.code, report)
        found = segments(list(itertools.chain(*heard)), latest=len(samples) / SAMPLE_RATE)
        if not found:
            return _nothing(name)
        voiced = [run for window, words in zip(windows, heard, strict=True) if words for run in window.runs]
        return Heard(
            segments=[_later(segment, offset) for segment in found],
            speech=[
                (round(offset + start, 3), round(offset + end, 3))
                for (start, end), run in zip(spans, runs, strict=True)
                if any(run[0] < until and since < run[1] for since, until in voiced)
            ],
            language=told.code,
            language_probability=told.probability,
            model=name,
        )

    @property
    def _model(self) -> _Model:
        if self._loaded is None:
            raise RuntimeError("the model is used before it is loaded")
        return self._loaded[1]

    def _known(self, language: str) -> _Language:
        """The language that was asked for. A model for one language has only that."""
        code = primary(language)
        if code not in LANGUAGES:
            raise SpeechError("processing_error", f"Whisper does not know the language {code!r}.")
        if not self._model.model.is_multilingual:
            return _Language("en", None)
        if self._model.hf_tokenizer.token_to_id(f"<|{code}|>") is None:
            raise SpeechError("processing_error", f"This Whisper model does not know the language {code!r}.")
        return _Language(code, None)

    def _detect(self, samples: Samples, parts: Sequence[_Part]) -> _Language:
        """The language of several windows together: what comes first may mislead."""
        if not self._model.model.is_multilingual:
            return _Language("en", None)
        extract = self._model.feature_extractor
        frames = [pad_or_trim(extract(part.window.samples(samples))[..., :-1]) for part in parts]
        answers = self._model.model.detect_language(self._model.encode(np.stack(frames)))
        chances: dict[str, float] = {}
        whole = sum(len(part.window) for part in parts)
        for part, answer in zip(parts, answers, strict=True):
            for token, probability in answer:
                chances[token] = chances.get(token, 0.0) + probability * len(part.window) / whole
        token = max(chances, key=lambda each: chances[each])
        code = token.removeprefix("<|").removesuffix("|>")
        return _Language(code, round(min(chances[token], 1.0), 4))

    def _hear(
        self, samples: Samples, parts: Sequence[_Part], code: str, report: Report
    ) -> list[list[Spoken]]:
        """The words of each window, times from the start of the samples."""
        heard: list[list[Spoken]] = [[] for _ in parts]
        for turn in range(_TURNS):
            left: list[_Part] = []
            for done, (part, raws) in enumerate(self._decode(samples, parts, code), 1):
                words = list(self._words(samples, part, raws, code))
                heard[part.index] += words
                rest = part.window.after(words[-1].end) if words else None
                if rest is not None and len(rest) >= _REST:
                    left.append(_Part(part.index, rest))
                if turn == 0:
                    report(done / len(parts))
            parts = left
        return heard

    def _words(self, samples: Samples, part: _Part, raws: Sequence[Raw], code: str) -> Iterator[Spoken]:
        if any(raw.compression_ratio > _REPETITIVE for raw in raws):
            _, raws = next(self._decode(samples, [part], code, ngrams=_NGRAMS))
        for raw in raws:
            if raw.no_speech_prob > _NO_SPEECH and raw.avg_logprob < _UNSURE:
                continue
            for word in raw.words or ():
                before = raw.seek / 100
                # Numbers of numpy's, whatever their annotation says; they would not go through the pipe.
                start, end = part.window.times(float(word.start) - before, float(word.end) - before)
                yield Spoken(
                    start, min(end, start + _LONGEST_WORD), word.word, share(float(word.probability))
                )

    def _decode(
        self, samples: Samples, parts: Sequence[_Part], code: str, *, ngrams: int = 0
    ) -> Iterator[tuple[_Part, Sequence[Raw]]]:
        """What Whisper makes of each part, in their order; one segment, as a rule.

        A segment's `seek`, in hundredths of a second, is where its part begins, and its words' times count
        from the same point as that does. `ngrams`: so many tokens in a row it does not say twice.
        """
        if not parts:
            return
        ends = list(itertools.accumulate((len(part.window) for part in parts), initial=0))
        raws, _ = BatchedInferencePipeline(self._model).transcribe(
            np.concatenate([part.window.samples(samples) for part in parts]),
            code,
            beam_size=_BEAM,
            batch_size=_BATCH,
            no_repeat_ngram_size=ngrams,
            condition_on_previous_text=False,
            # With its own timestamps it drops what follows the last of them.
            without_timestamps=True,
            word_timestamps=True,
            clip_timestamps=[
                {"start": start / SAMPLE_RATE, "end": end / SAMPLE_RATE}
                for start, end in itertools.pairwise(ends)
            ],
        )
        begins = [100 * start / SAMPLE_RATE for start in ends[:-1]]

        def place(raw: Raw) -> int:
            return bisect.bisect_right(begins, raw.seek + 1.5) - 1  # it was rounded down

        for index, group in itertools.groupby(raws, place):
            yield parts[index], list(group)


class _Model(WhisperModel):
    """Encodes the same windows once: for their language, and then for their words. That is half the work."""

    _features: Samples | None = None
    _encoded: StorageView | None = None

    def encode(self, features: Samples) -> StorageView:
        if self._encoded is None or self._features is None or not np.array_equal(self._features, features):
            self._features, self._encoded = features, super().encode(features)
        return self._encoded


def _spread_first(windows: Sequence[Window]) -> list[_Part]:
    """First one batch from beginning, middle and end, whose language is everybody's, then the others."""
    count, most = len(windows), min(len(windows), _BATCH)
    shares = (range(count * share // most, count * (share + 1) // most) for share in range(most))
    chosen = [max(share, key=lambda index: len(windows[index])) for share in shares]
    order = [*chosen, *sorted(set(range(count)) - set(chosen))]
    return [_Part(index, windows[index]) for index in order]


def _load(found: weights.Weights, threads: int) -> _Model:
    """Raises DamagedPackage, and what the libraries raise for files that are no model."""
    files: dict[str, bytes | Readable] | None = None
    if found.folder is None:
        files = {name: packaged.read() or b"" for name, packaged in found.packaged.items() if name != _LARGE}
        # Handed over as what can be read, so that these bytes are gone before the model is built of them.
        files[_LARGE] = found.packaged[_LARGE]
    place = found.name if found.folder is None else str(found.folder)
    model = _Model(
        place, device="cpu", compute_type="int8", cpu_threads=threads, files=files, local_files_only=True
    )
    if model.model.n_mels != model.feature_extractor.mel_filters.shape[0]:
        raise ValueError("preprocessor_config.json is missing or is another model's")
    return model


def _nothing(model: str) -> Heard:
    return Heard(segments=[], speech=[], language=None, language_probability=None, model=model)


def _later(segment: Segment, offset: float) -> Segment:
    def moved(times: Iterable[float]) -> list[float]:
        return [round(offset + time, 3) for time in times]

    start, end = moved((segment.start, segment.end))
    words = [
        msgspec.structs.replace(word, start=begin, end=finish)
        for word in segment.words or ()
        for begin, finish in [moved((word.start, word.end))]
    ]
    return msgspec.structs.replace(segment, start=start, end=end, words=words)
