"""Each stretch of speech is decoded in its language, and the words come in the order of time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lapel.slices.transcription.models.whisper import recognizer
from lapel.slices.transcription.models.whisper.recognizer import Whisper
from lapel.slices.transcription.models.whisper.spoken_languages import SpokenLanguages
from lapel.slices.transcription.speech.messages import Heard

RATE = 16_000  # Hz
# English and German in turns, with pauses of a second.
SPANS = [(at + 0.5, at + 5.5) for at in range(0, 48, 6)]
LANGUAGES = ["en", "de"] * 4


class Decoder:
    """Hears a word each second: the language in which it decodes. It hears nothing in German if told so.

    `among`: the languages among which those of the speech were chosen last.
    """

    deaf = False
    among: frozenset[str] = frozenset()

    def __init__(self, _model: object) -> None:
        pass

    def transcribe(
        self, samples: Sequence[float], language: str, *, clip_timestamps: list[dict[str, float]], **_: Any
    ) -> tuple[Iterator[Any], None]:
        assert clip_timestamps[-1]["end"] * RATE == len(samples)
        return (self._raw(language, **clip) for clip in clip_timestamps), None

    def _raw(self, language: str, start: float, end: float) -> Any:
        times = [] if self.deaf and language == "de" else np.arange(start, end - 0.5)
        words = [
            SimpleNamespace(start=at, end=at + 0.5, word=f" {language}", probability=0.9) for at in times
        ]
        return SimpleNamespace(
            seek=int(100 * start), words=words, compression_ratio=1, no_speech_prob=0, avg_logprob=0
        )


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> type[Decoder]:
    def choose(*_: object, among: frozenset[str], **__: object) -> SpokenLanguages:
        Decoder.among = among
        return SpokenLanguages(LANGUAGES, "en", 0.9)

    monkeypatch.setattr(recognizer, "speech", lambda _: SPANS)
    monkeypatch.setattr(recognizer, "spoken_languages", choose)
    monkeypatch.setattr(recognizer, "BatchedInferencePipeline", Decoder)
    monkeypatch.setattr(Decoder, "deaf", False)
    return Decoder


def listen(*languages: str) -> Heard:
    whisper = Whisper("", threads=1)
    known = {f"<|{code}|>": number for number, code in enumerate(("en", "de", "es", "la", "sa"))}
    tokenizer = SimpleNamespace(token_to_id=known.get)
    model: Any = SimpleNamespace(model=SimpleNamespace(is_multilingual=True), hf_tokenizer=tokenizer)
    loaded: Any = SimpleNamespace(name="model", model=model, for_one_window=model, workers=1)
    whisper._loaded = loaded
    samples = np.zeros(48 * RATE, np.float32)
    return whisper.listen(samples, offset=100, language=None, languages=languages, report=lambda _: None)


@pytest.mark.usefixtures("decoder")
def test_turns_in_two_languages() -> None:
    heard = listen()
    assert heard.speech == [(100 + start, 100 + end) for start, end in SPANS]
    assert (heard.language, heard.language_probability) == ("en", 0.9)
    assert heard.seconds == {"en": 20.0, "de": 20.0}
    words = [word for segment in heard.segments for word in segment.words or ()]
    assert len(words) > 40
    assert all(first.end <= second.start for first, second in itertools.pairwise(words))
    for word in words:
        turn = int((word.start - 100) // 6)
        assert word.word == LANGUAGES[turn], word
    assert all(len(set(segment.text.split())) == 1 for segment in heard.segments)


def test_speech_without_words_is_no_speech_of_its_language(decoder: type[Decoder]) -> None:
    decoder.deaf = True
    heard = listen()
    assert heard.speech == [(100 + start, 100 + end) for start, end in SPANS[::2]]
    assert heard.seconds == {"en": 20.0}


@pytest.mark.parametrize(
    ("languages", "among"),
    [
        ((), {"en", "de", "es"}),  # neither Latin nor Sanskrit, which nobody speaks
        (("de", "es-MX"), {"de", "es"}),
        (("en", "la", "pl"), {"en", "la"}),  # the model does not know Polish
    ],
)
def test_languages_are_chosen_among_those_that_are_asked_for(
    decoder: type[Decoder], languages: tuple[str, ...], among: set[str]
) -> None:
    listen(*languages)
    assert decoder.among == among
