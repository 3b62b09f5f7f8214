"""Deepgram: one POST of the file. Documentation: "Pre-Recorded Audio" in its API reference
(`POST /v1/listen`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from lapel.transcription.providers.account import Account
from lapel.transcription.providers.heard import Said, heard, stretches
from lapel.transcription.providers.http import Service
from lapel.transcription.providers.languages import spoken
from lapel.transcription.providers.sending import upload_of

if TYPE_CHECKING:
    from lapel.foundation.clock import Clock
    from lapel.transcription.engine.messages import Heard
    from lapel.transcription.providers.http import Patience
    from lapel.transcription.providers.protocol import Clip, Wish
    from lapel.transcription.providers.slots import SlotChoice

BASE_URL = "https://api.deepgram.com"
MODEL = "nova-3"


class _Word(msgspec.Struct, frozen=True):
    word: str
    start: float
    end: float
    confidence: float | None = None
    speaker: int | None = None
    # With capitals and punctuation.
    punctuated_word: str | None = None


class _Utterance(msgspec.Struct, frozen=True):
    transcript: str
    start: float
    end: float
    confidence: float | None = None
    speaker: int | None = None
    words: Sequence[_Word] = ()


class _Alternative(msgspec.Struct, frozen=True):
    transcript: str
    confidence: float | None = None
    words: Sequence[_Word] = ()


class _Channel(msgspec.Struct, frozen=True):
    alternatives: Sequence[_Alternative]
    detected_language: str | None = None
    language_confidence: float | None = None


class _Results(msgspec.Struct, frozen=True):
    channels: Sequence[_Channel]
    utterances: Sequence[_Utterance] | None = None


class _Answer(msgspec.Struct, frozen=True):
    results: _Results


class Deepgram:
    """The Transcriber. It cannot be told how many people speak."""

    piecewise: bool = False
    tells_speakers: bool = True

    def __init__(self, choice: SlotChoice, clock: Clock, patience: Patience) -> None:
        headers = {"Authorization": f"Token {choice.key}"} if choice.key else {}
        self._account = Account(
            name="Deepgram", slot=choice.slot, base_url=choice.base_url or BASE_URL,
            key=choice.key, headers=headers,
        )  # fmt: skip
        self._model = choice.model or MODEL
        self._clock = clock
        self._patience = patience

    async def transcribe(self, clip: Clip, wish: Wish, report: Callable[[float], None]) -> Heard:
        """See Transcriber."""
        query = {
            "model": self._model, "punctuate": "true", "smart_format": "true", "utterances": "true",
            "diarize": "true" if wish.diarization else "false",
        }  # fmt: skip
        query |= {"language": wish.language} if wish.language else {"detect_language": "true"}
        async with Service(self._account, self._clock, self._patience) as service:
            send = upload_of(clip, lambda sent: report(sent / 2))
            answer = await service.ask("POST", "/v1/listen", _Answer, query=query, send=send)
        found = await asyncio.to_thread(_heard, answer.results, clip, wish, self._model)
        report(1.0)
        return found


def _heard(results: _Results, clip: Clip, wish: Wish, model: str) -> Heard:
    said = [_stretch(each, wish) for each in results.utterances or ()]
    if not said:
        for best in (channel.alternatives[0] for channel in results.channels if channel.alternatives):
            words = stretches(_said(word) for word in best.words)
            said += words or [Said(text=best.transcript, confidence=best.confidence)]
    told = results.channels[0] if results.channels else _Channel(alternatives=())
    language = spoken(told.detected_language, wish.language)
    return heard(said, clip, language=language, probability=told.language_confidence, model=model)


def _stretch(utterance: _Utterance, wish: Wish) -> Said:
    return Said(
        text=utterance.transcript, start=utterance.start, end=utterance.end, confidence=utterance.confidence,
        speaker=utterance.speaker if wish.diarization else None,
        words=[_said(word) for word in utterance.words],
    )  # fmt: skip


def _said(word: _Word) -> Said:
    return Said(
        text=word.punctuated_word or word.word, start=word.start, end=word.end, confidence=word.confidence,
        speaker=word.speaker,
    )  # fmt: skip
