"""Loops of the decoder are found by their words, decoded again, and marked if that does not help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lapel.evaluation.conversations import conversations
from lapel.slices.transcription.models.whisper import recognizer
from lapel.slices.transcription.models.whisper.doubts import doubtful_spans, looks_wrong, mark
from lapel.slices.transcription.models.whisper.recognizer import Whisper
from lapel.slices.transcription.models.whisper.sentences import Spoken
from lapel.slices.transcription.speech.messages import Heard

RATE = 16_000  # Hz


def said(text: str, *, pace: float = 0.4) -> list[Spoken]:
    """Each word takes `pace` seconds, and is as sure as Whisper was of a loop."""
    return [
        Spoken(at * pace, (at + 1) * pace, f" {word}", 0.82, "es") for at, word in enumerate(text.split())
    ]


def marked(text: str) -> str:
    """The words that are marked."""
    return " ".join(each.text.strip() for each in mark(said(text), 60.0) if each.is_doubtful)


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("Buenos días. Fún fún, fún fún fún fún fún. Hasta luego.", "Fún fún, fún fún fún fún fún."),
        ("I am going to go. I am going to go. I am going to go. I am going to go.", "I am going to go. " * 4),
        ("so it goes on and on and on and on and on", "on and on and on and on and on"),
        ("one two one two one two one two three", "one two one two one two one two"),
    ],
)  # fmt: skip
def test_a_loop_is_found_by_its_words(text: str, loop: str) -> None:
    assert marked(text) == loop.strip()
    assert looks_wrong(said(text), 60.0)


@pytest.mark.parametrize(
    "text",
    [
        "No, no, no, no, no! I said so.",
        "Very very good, and good is very very good.",
        "Call five five five, zero one nine nine, five five five, zero one nine nine.",
        "Row, row, row your boat. Row, row, row your boat. Row, row, row your boat.",
        "- - - - - - - -",
        "",
    ],
)
def test_what_people_say_again_is_no_loop(text: str) -> None:
    assert marked(text) == ""
    assert not looks_wrong(said(text), 60.0)


def test_written_conversations_have_no_loop() -> None:
    texts = [segment.text for each in conversations() for segment in each.segments]
    assert len(texts) > 500
    assert [text for text in texts if marked(text)] == []


def test_stretches_of_marked_words() -> None:
    words = mark(said("fún " * 7 + "y a b c d e f g h " + "ja " * 6), 60.0)
    spans = doubtful_spans(words)
    assert [(round(start, 1), round(end, 1)) for start, end in spans] == [(0.0, 2.8), (6.4, 8.8)]
    assert {each.confidence for each in words if each.is_doubtful} == {0.41}
    assert {each.confidence for each in words if not each.is_doubtful} == {0.82}


class Decoder:
    """Repeats a word; decoded without repetitions, it hears other words, with a probability."""

    log_probability = -0.2
    first: tuple[str, ...] = ("fún",) * 8
    again = ("guten", "morgen")
    compression = (1.2, 1.2)  # of the text decoded first, and again
    decoded: list[int]

    def __init__(self, _model: object) -> None:
        pass

    def transcribe(
        self, _samples: Sequence[float], _language: str, *, no_repeat_ngram_size: int, **_: Any
    ) -> tuple[Iterator[Any], None]:
        self.decoded.append(no_repeat_ngram_size)
        texts = self.again if no_repeat_ngram_size else self.first
        words = [
            SimpleNamespace(start=at, end=at + 0.5, word=f" {text}", probability=0.8)
            for at, text in enumerate(texts)
        ]
        raw = SimpleNamespace(
            seek=0,
            words=words,
            compression_ratio=self.compression[bool(no_repeat_ngram_size)],
            no_speech_prob=0,
            avg_logprob=self.log_probability,
        )
        return iter([raw]), None


def listen(monkeypatch: pytest.MonkeyPatch) -> Heard:
    monkeypatch.setattr(recognizer, "speech", lambda _: [(0.0, 8.0)])
    monkeypatch.setattr(recognizer, "BatchedInferencePipeline", Decoder)
    monkeypatch.setattr(Decoder, "decoded", [], raising=False)
    tokenizer = SimpleNamespace(token_to_id={"<|es|>": 1}.get)
    model: Any = SimpleNamespace(model=SimpleNamespace(is_multilingual=True), hf_tokenizer=tokenizer)
    whisper = Whisper("", threads=1)
    loaded: Any = SimpleNamespace(name="model", model=model, for_one_window=model, workers=1)
    whisper._loaded = loaded
    return whisper.listen(np.zeros(8 * RATE, np.float32), offset=60, language="es", report=lambda _: None)


def text_of(heard: Heard) -> str:
    return " ".join(segment.text for segment in heard.segments)


def test_a_window_with_a_loop_is_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = listen(monkeypatch)
    assert Decoder.decoded[:2] == [0, 3]
    assert "fún" not in text_of(heard)
    assert heard.doubtful == []
    assert all(segment.confidence == pytest.approx(0.8) for segment in heard.segments)


@pytest.mark.parametrize(("again", "log_probability"), [(("fún",) * 8, -0.2), (("gluten", "marken"), -1.4)])
def test_what_is_no_better_the_second_time_is_marked(
    monkeypatch: pytest.MonkeyPatch, again: tuple[str, ...], log_probability: float
) -> None:
    monkeypatch.setattr(Decoder, "again", again)
    monkeypatch.setattr(Decoder, "log_probability", log_probability)
    heard = listen(monkeypatch)
    assert text_of(heard).startswith(again[0])
    assert heard.doubtful
    assert all(60 <= start < end <= 69 for start, end in heard.doubtful)
    assert all(segment.confidence == pytest.approx(0.4) for segment in heard.segments)


@pytest.mark.parametrize("again", [1.2, 5.0])
def test_a_text_that_compresses_as_no_speech_does_is_decoded_again_or_marked(
    monkeypatch: pytest.MonkeyPatch, again: float
) -> None:
    """A loop within a word, and one of a sentence longer than the phrases that are compared, have no words
    that repeat themselves."""
    monkeypatch.setattr(Decoder, "first", ("fún" * 20,))
    monkeypatch.setattr(Decoder, "compression", (5.0, again))
    heard = listen(monkeypatch)
    assert Decoder.decoded[:2] == [0, 3]
    assert set(text_of(heard).split()) == {"guten", "morgen"}
    assert bool(heard.doubtful) is (again > 2)


def test_an_ordinary_text_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decoder, "first", ("buenos", "días"))
    heard = listen(monkeypatch)
    assert set(Decoder.decoded) == {0}
    assert set(text_of(heard).split()) == {"buenos", "días"}
    assert heard.doubtful == []
