"""Whisper, by faster-whisper on CTranslate2: transcribes several windows at a time; words have times.

Source: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022 (arXiv:2212.04356).
The thresholds for repetitive and silent windows are from its section on long-form transcription.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np
from faster_whisper import BatchedInferencePipeline

from lapel.slices.transcription.models.weights import whisper_weights
from lapel.slices.transcription.models.weights.packages import DamagedPackage
from lapel.slices.transcription.models.whisper.activity import speech
from lapel.slices.transcription.models.whisper.doubts import (
    doubtful_spans,
    looks_wrong,
    lower_confidence,
    mark,
)
from lapel.slices.transcription.models.whisper.languages import LANGUAGES, SPOKEN_TODAY, primary
from lapel.slices.transcription.models.whisper.loaded_whisper import LoadedWhisper
from lapel.slices.transcription.models.whisper.sentences import Spoken, segments
from lapel.slices.transcription.models.whisper.spoken_languages import SpokenLanguages, spoken_languages
from lapel.slices.transcription.models.whisper.windows import Run, Window, pack
from lapel.slices.transcription.speech.failures import SpeechError
from lapel.slices.transcription.speech.messages import SAMPLE_RATE, Heard, Span
from lapel.slices.transcription.speech.transcript import share

if TYPE_CHECKING:
    from faster_whisper import WhisperModel
    from faster_whisper.transcribe import Segment as Raw
    from numpy.typing import NDArray

    from lapel.slices.transcription.speech.transcript import Segment

    Samples: TypeAlias = NDArray[np.float32]
    Report: TypeAlias = Callable[[float], None]

# Greedy decoding takes a sixth less time, but is a little worse and far more likely to repeat itself.
_BEAM = 5
# Windows of a batch, with several workers and with one. One after the other, each on both of two cores,
# batches of four windows take a sixth more time than two batches of two at once: a step of the decoder is too
# short to be divided, so a core waits. Four windows at once are as fast as eight, and need 100 MB less.
_BATCH = 2
_BATCH_ALONE = 4

# As in Whisper's own decoder. Text with a compression ratio above `_REPETITIVE` repeats itself. A window is
# silent if the probability of no speech is above `_NO_SPEECH`, and the mean log probability of its tokens is
# below `_UNSURE`.
_REPETITIVE = 2.4
_NO_SPEECH = 0.6
_UNSURE = -1.0
# A window that repeats itself, or has more words than people can say, is decoded again. Then no sequence of
# this many tokens may occur twice, so that invented words get low probabilities.
_NGRAMS = 3

# Whisper may stop before a window ends. Then the rest is decoded again if it has at least `_REST` samples;
# a window is decoded `_TURNS` times at most.
_REST = 3 * SAMPLE_RATE
_TURNS = 3
# Seconds. The last word before Whisper stopped may have an end that is far too late.
_LONGEST_WORD = 4.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """A window, or the rest of a window. `index`: the window's index."""

    index: int
    window: Window


class Whisper:
    """One model, loaded when it is first needed. Not safe for several threads at once."""

    def __init__(self, setting: str, *, threads: int) -> None:
        """`setting`: a folder, a name, or empty (see whisper_weights.py). `threads`: at least 1."""
        self.setting = setting
        self._threads = threads
        self._loaded: LoadedWhisper | None = None

    def load(self) -> str:
        """Load the model if it is not loaded yet, and return its name.

        Raises SpeechError, with the ways to get weights, when there is no usable model, and NotHere when the
        model has to be downloaded first.
        """
        if self._loaded is None:
            found = whisper_weights.here(self.setting)
            try:
                self._loaded = LoadedWhisper(found, self._threads)
            except DamagedPackage as fault:
                message = f"The Whisper model {found.name} is damaged."
                remedy = f"{fault}. {whisper_weights.REMEDY}"
                raise SpeechError("processing_error", message, remedy=remedy) from None
            except Exception as fault:  # tokenizers raises nothing narrower
                message = f"The Whisper model {found.name} cannot be loaded ({type(fault).__name__})."
                raise SpeechError("processing_error", message, remedy=whisper_weights.REMEDY) from fault
        return self._loaded.name

    def listen(
        self,
        samples: Samples,
        *,
        offset: float,
        language: str | None,
        languages: Sequence[str] = (),
        likely: str | None = None,
        report: Report,
    ) -> Heard:
        """Transcribe samples: 1-D float32, 16 kHz, mono, -1 to 1. `offset` (seconds) is added to all times.

        `language`: None to detect the language of each stretch of speech, among `languages` (empty: all that
        people speak today). `likely`: the language if none is clear in any stretch. A model for English alone
        always answers in English. `report` is called with the progress, 0 to 1. Raises SpeechError when the
        model does not know the language or there is no usable model, and NotHere when the model has to be
        downloaded first.
        """
        name = self.load()
        among = self._known_of([language] if language is not None else languages)
        spans = speech(samples)
        if not spans:
            return _nothing(name)
        runs = [(int(start * SAMPLE_RATE), int(end * SAMPLE_RATE)) for start, end in spans]
        found_languages = self._languages(samples, runs, among, likely)
        windows = pack(runs, found_languages.of_runs, samples)
        heard = self._hear(samples, windows, report)
        words = (mark(said, len(window) / SAMPLE_RATE) for said, window in zip(heard, windows, strict=True))
        in_order = sorted(
            itertools.chain.from_iterable(words), key=lambda word: word.start
        )  # windows of several languages alternate
        found = segments(in_order, latest=len(samples) / SAMPLE_RATE)
        if not found:
            return _nothing(name)
        voiced = [run for window, said in zip(windows, heard, strict=True) if said for run in window.runs]
        spoken = [
            (span, language)
            for span, run, language in zip(spans, runs, found_languages.of_runs, strict=True)
            if any(run[0] < until and since < run[1] for since, until in voiced)
        ]
        return Heard(
            segments=[_later(segment, offset) for segment in found],
            speech=[(round(offset + start, 3), round(offset + end, 3)) for (start, end), _ in spoken],
            language=found_languages.main,
            language_probability=found_languages.probability,
            seconds=_seconds(spoken),
            doubtful=[
                (round(offset + start, 3), round(offset + end, 3)) for start, end in doubtful_spans(in_order)
            ],
            model=name,
        )

    @property
    def _ready(self) -> LoadedWhisper:
        if self._loaded is None:
            raise RuntimeError("the model is used before it is loaded")
        return self._loaded

    @property
    def _model(self) -> WhisperModel:
        return self._ready.model

    def _known_of(self, languages: Sequence[str]) -> frozenset[str]:
        """The languages of `languages` that the model knows; of none, all that people speak today.

        Only English if the model is for English alone. Raises SpeechError when no Whisper model knows one of
        the languages, or when this model does not.
        """
        asked = list(dict.fromkeys(map(primary, languages)))
        listed = f"language{'' if len(asked) == 1 else 's'} {', '.join(f'`{code}`' for code in asked)}"
        if asked and LANGUAGES.isdisjoint(asked):
            raise SpeechError("processing_error", f"Whisper does not know the {listed}.")
        if not self._model.model.is_multilingual:
            return frozenset({"en"})
        known = frozenset(code for code in asked or SPOKEN_TODAY if self._has_token(code))
        if not known:
            raise SpeechError("processing_error", f"This Whisper model does not know the {listed}.")
        return known

    def _has_token(self, code: str) -> bool:
        return self._model.hf_tokenizer.token_to_id(f"<|{code}|>") is not None

    def _languages(
        self, samples: Samples, runs: Sequence[Run], among: frozenset[str], likely: str | None
    ) -> SpokenLanguages:
        """The language of each run, out of `among`. A single language is not looked for."""
        if len(among) > 1:
            return spoken_languages(self._model, samples, runs, among=among, likely=likely)
        (only,) = among
        return SpokenLanguages([only] * len(runs), only, None)

    def _hear(self, samples: Samples, windows: Sequence[Window], report: Report) -> list[list[Spoken]]:
        """The words of each window, with times in seconds from the start of the samples."""
        heard: list[list[Spoken]] = [[] for _ in windows]
        model = self._model if len(windows) > 1 else self._ready.for_one_window
        parts = [_Part(index, window) for index, window in enumerate(windows)]
        for turn in range(_TURNS):
            left: list[_Part] = []
            for done, (part, raws) in enumerate(self._decode(model, samples, parts), 1):
                words = self._words(model, samples, part, raws)
                heard[part.index] += words
                rest = part.window.after(words[-1].end) if words else None
                if rest is not None and len(rest) >= _REST:
                    left.append(_Part(part.index, rest))
                if turn == 0:
                    report(done / len(parts))
            parts = left
        return heard

    def _words(self, model: WhisperModel, samples: Samples, part: _Part, raws: Sequence[Raw]) -> list[Spoken]:
        """The words of a part. If they look wrong, it is decoded again; what looks no better is marked."""
        words = list(_read_words(part, raws))
        repetitive = any(raw.compression_ratio > _REPETITIVE for raw in raws)
        if not repetitive and not looks_wrong(words, len(part.window) / SAMPLE_RATE):
            return words
        _, again = next(self._decode(model, samples, [part], ngrams=_NGRAMS))
        words = list(_read_words(part, again))
        if any(raw.compression_ratio > _REPETITIVE or raw.avg_logprob < _UNSURE for raw in again):
            return [lower_confidence(word) for word in words]
        return words

    def _decode(
        self, model: WhisperModel, samples: Samples, parts: Sequence[_Part], *, ngrams: int = 0
    ) -> Iterator[tuple[_Part, Sequence[Raw]]]:
        """Whisper's segments for each part, in the order of the parts; usually one segment for each part.

        `ngrams`: no sequence of this many tokens occurs twice; 0 is no limit.
        """

        def decode(batch: Sequence[_Part]) -> list[tuple[_Part, Sequence[Raw]]]:
            return _decode_batch(model, samples, batch, ngrams)

        workers = self._ready.workers
        with ThreadPoolExecutor(workers) as pool:
            yield from itertools.chain.from_iterable(pool.map(decode, _batches(parts, workers)))


def _decode_batch(
    model: WhisperModel, samples: Samples, parts: Sequence[_Part], ngrams: int
) -> list[tuple[_Part, Sequence[Raw]]]:
    """Decode parts in one language. Called in several threads at once.

    A segment's `seek` is the start of its part, in hundredths of a second. `seek` and the words' times count
    from the same zero.
    """
    ends = list(itertools.accumulate((len(part.window) for part in parts), initial=0))
    raws, _ = BatchedInferencePipeline(model).transcribe(
        np.concatenate([part.window.samples(samples) for part in parts]),
        parts[0].window.language,
        beam_size=_BEAM,
        batch_size=len(parts),
        no_repeat_ngram_size=ngrams,
        condition_on_previous_text=False,
        # If Whisper makes timestamps itself, it drops the words after the last timestamp.
        without_timestamps=True,
        word_timestamps=True,
        clip_timestamps=[
            {"start": start / SAMPLE_RATE, "end": end / SAMPLE_RATE}
            for start, end in itertools.pairwise(ends)
        ],
    )
    begins = [100 * start / SAMPLE_RATE for start in ends[:-1]]

    def place(raw: Raw) -> int:
        return bisect.bisect_right(begins, raw.seek + 1.5) - 1  # `seek` was rounded down

    return [(parts[index], list(group)) for index, group in itertools.groupby(raws, place)]


def _batches(parts: Sequence[_Part], workers: int) -> Iterator[Sequence[_Part]]:
    """Neighbours in one language. All workers get equally many batches of a language that has enough parts,
    so that none waits for the last one."""
    size = _BATCH_ALONE if workers == 1 else _BATCH
    for _, group in itertools.groupby(parts, lambda part: part.window.language):
        of_language = list(group)
        count = min(-(-len(of_language) // (size * workers)) * workers, len(of_language))
        ends = [len(of_language) * index // count for index in range(count + 1)]
        yield from (of_language[first:last] for first, last in itertools.pairwise(ends))


def _read_words(part: _Part, raws: Sequence[Raw]) -> Iterator[Spoken]:
    for raw in raws:
        if raw.no_speech_prob > _NO_SPEECH and raw.avg_logprob < _UNSURE:
            continue
        for word in raw.words or ():
            before = raw.seek / 100
            # In spite of their annotation, the times are numpy numbers, which the pipe cannot encode.
            start, end = part.window.times(float(word.start) - before, float(word.end) - before)
            end = min(end, start + _LONGEST_WORD)
            yield Spoken(start, end, word.word, share(float(word.probability)), part.window.language)


def _seconds(spoken: Iterable[tuple[Span, str]]) -> dict[str, float]:
    """How long each language is spoken. `spoken`: stretches and their languages."""
    seconds: dict[str, float] = {}
    for (start, end), language in spoken:
        seconds[language] = seconds.get(language, 0.0) + end - start
    return {language: round(length, 3) for language, length in seconds.items()}


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
