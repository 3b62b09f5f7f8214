"""Deepgram: one POST of the file. Source: `POST /v1/listen` in deepgram/deepgram-api-specs, July 2026, and
Deepgram's changelog up to October 2026. Deepgram's API has no call that deletes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.providers.http.account import Account
from lapel.slices.transcription.providers.heard import Said, heard, stretches
from lapel.slices.transcription.providers.speech_service import speech_service, upload_of
from lapel.slices.transcription.speech.provider_languages import primary, spoken, tag

if TYPE_CHECKING:
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.outbound.policy import OutboundPolicy
    from lapel.slices.providers.http.provider_client import Patience
    from lapel.slices.providers.service import SlotChoice
    from lapel.slices.transcription.providers.protocol import Clip, Wish
    from lapel.slices.transcription.speech.messages import Heard

BASE_URL = "https://api.deepgram.com"
MODEL = "nova-3"
# After this many seconds, Deepgram ends the work on a file with 504. With its Whisper models: after twice as
# many.
_GIVES_UP = 600.0
# The languages that Deepgram detects, as its documentation lists them; it refuses other codes.
_DETECTED = frozenset(
    [
        "bg", "ca", "cs", "da", "de", "de-CH", "el", "en", "es", "et", "fi", "fr", "hi", "hu", "id", "it",
        "ja", "ko", "lt", "lv", "ms", "nl", "nl-BE", "no", "pl", "pt", "ro", "ru", "sk", "sv", "th", "tr",
        "uk", "vi", "zh",
    ]
)  # fmt: skip
# ISO 639-2 code of several languages, and Deepgram's code for a conversation in several languages.
_SEVERAL, _ITS_SEVERAL = "mul", "multi"


class _DeepgramWord(msgspec.Struct, frozen=True):
    word: str
    start: float
    end: float
    confidence: float | None = None
    speaker: int | None = None
    # With capitals and punctuation.
    punctuated_word: str | None = None


class _DeepgramUtterance(msgspec.Struct, frozen=True):
    transcript: str
    start: float
    end: float
    confidence: float | None = None
    speaker: int | None = None
    words: Sequence[_DeepgramWord] = ()


class _Alternative(msgspec.Struct, frozen=True):
    transcript: str
    confidence: float | None = None
    words: Sequence[_DeepgramWord] = ()
    # For a conversation in several languages: the languages heard, ordered by their number of words.
    languages: Sequence[str] = ()


class _Channel(msgspec.Struct, frozen=True):
    alternatives: Sequence[_Alternative]
    detected_language: str | None = None
    language_confidence: float | None = None


class _Results(msgspec.Struct, frozen=True):
    channels: Sequence[_Channel]
    utterances: Sequence[_DeepgramUtterance] | None = None


class _DeepgramModel(msgspec.Struct, frozen=True):
    name: str | None = None


class _DeepgramMetadata(msgspec.Struct, frozen=True):
    models: Sequence[str] = ()
    model_info: Mapping[str, _DeepgramModel] = {}


class _DeepgramAnswer(msgspec.Struct, frozen=True):
    results: _Results
    metadata: _DeepgramMetadata = _DeepgramMetadata()


def account_of(choice: SlotChoice) -> Account:
    """The account that the slot's setting names. `gives_up` depends on the chosen model."""
    headers = {"Authorization": f"Token {choice.key}"} if choice.key else {}
    gives_up = _GIVES_UP * (2 if (choice.model or MODEL).startswith("whisper") else 1)
    return Account(
        name="Deepgram", slot=choice.slot, base_url=choice.base_url or BASE_URL, key=choice.key,
        headers=headers, gives_up=gives_up,
    )  # fmt: skip


class Deepgram:
    """The Transcriber of Deepgram, whose API takes no number of speakers."""

    piecewise: bool = False
    reads_samples: bool = False
    tells_speakers: bool = True
    tells_languages: bool = False

    def __init__(self, choice: SlotChoice, clock: Clock, patience: Patience, policy: OutboundPolicy) -> None:
        self._model = choice.model or MODEL
        self._account = account_of(choice)
        self._allow_training = choice.allow_training
        self._clock = clock
        self._patience = patience
        self._policy = policy

    async def transcribe(self, clip: Clip, wish: Wish, report: Callable[[float], None]) -> Heard:
        """See `Transcriber.transcribe`. Raises SpeechError, TryAgain and OSError."""
        async with speech_service(self._account, self._clock, self._patience, self._policy) as service:
            send = upload_of(clip, lambda sent: report(sent / 2))
            answer = await service.ask(
                "POST", "/v1/listen", _DeepgramAnswer, query=self._query(wish), send=send
            )
        model = self._account.clean(_named(answer.metadata) or self._model)
        found = await asyncio.to_thread(_heard, answer.results, clip, wish, model)
        report(1.0)
        return found

    def _query(self, wish: Wish) -> list[tuple[str, str]]:
        query = [
            ("model", self._model), ("punctuate", "true"), ("smart_format", "true"), ("utterances", "true"),
        ]  # fmt: skip
        if not self._allow_training:  # "mip": Deepgram's Model Improvement Program
            query.append(("mip_opt_out", "true"))
        if wish.diarization:
            query.append(("diarize_model", "latest"))
        if wish.language is None:
            return [
                *query,
                *(("detect_language", each) for each in _name_detected(wish.languages) or ["true"]),
            ]
        return [*query, ("language", _ITS_SEVERAL if _is_several(wish.language) else tag(wish.language))]


def _name_detected(languages: Sequence[str]) -> list[str]:
    """The codes of these languages that Deepgram can choose among, without those that it cannot detect."""
    codes = [tag(each) if tag(each) in _DETECTED else primary(each) for each in languages]
    return [each for each in dict.fromkeys(codes) if each in _DETECTED]


def _is_several(language: str | None) -> bool:
    return language is not None and tag(language) == _SEVERAL


def _named(metadata: _DeepgramMetadata) -> str | None:
    """The model that answered. It may differ from the requested one, because some models lack a language."""
    known = [metadata.model_info[each].name for each in metadata.models if each in metadata.model_info]
    return next((name for name in known if name), None)


def _heard(results: _Results, clip: Clip, wish: Wish, model: str) -> Heard:
    said = [_stretch(each, wish) for each in results.utterances or ()]
    if not said:
        for best in (channel.alternatives[0] for channel in results.channels if channel.alternatives):
            words = stretches(_said(word) for word in best.words)
            said += words or [Said(text=best.transcript, confidence=best.confidence)]
    told = results.channels[0] if results.channels else _Channel(alternatives=())
    several = told.alternatives[0].languages[:1] if told.alternatives else ()
    named = told.detected_language or next(iter(several), None)
    language = spoken(named, None if _is_several(wish.language) else wish.language)
    return heard(said, clip, language=language, probability=told.language_confidence, model=model)


def _stretch(utterance: _DeepgramUtterance, wish: Wish) -> Said:
    return Said(
        text=utterance.transcript, start=utterance.start, end=utterance.end, confidence=utterance.confidence,
        speaker=utterance.speaker if wish.diarization else None,
        words=[_said(word) for word in utterance.words],
    )  # fmt: skip


def _said(word: _DeepgramWord) -> Said:
    return Said(
        text=word.punctuated_word or word.word, start=word.start, end=word.end, confidence=word.confidence,
        speaker=word.speaker,
    )  # fmt: skip
