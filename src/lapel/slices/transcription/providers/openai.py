"""OpenAI, or any service with its API: one form for each piece of the recording.

Source: `POST /audio/transcriptions` in openai/openai-openapi, August 2026, and openai_models.py. speaches,
vLLM, Groq, LocalAI and others offer the same call, some of them without times or words. The API has no call
that deletes.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import msgspec
import structlog

from lapel.slices.providers.http.account import Account
from lapel.slices.providers.http.sending import FileUpload
from lapel.slices.providers.service import RefusedForGood
from lapel.slices.transcription.providers.heard import Said, heard, stretches
from lapel.slices.transcription.providers.openai_models import traits_of
from lapel.slices.transcription.providers.speech_service import speech_service
from lapel.slices.transcription.speech.failures import SpeechError
from lapel.slices.transcription.speech.provider_languages import spoken

if TYPE_CHECKING:
    from pathlib import Path

    from lapel.foundation.core.clock import Clock
    from lapel.foundation.outbound.policy import OutboundPolicy
    from lapel.slices.providers.http.provider_client import Patience, Service
    from lapel.slices.providers.service import SlotChoice
    from lapel.slices.transcription.providers.protocol import Clip, Wish
    from lapel.slices.transcription.speech.messages import Heard

BASE_URL = "https://api.openai.com/v1"
MODEL = "whisper-1"
# OpenAI's limit for a file.
_MOST_BYTES = 25_000_000
# OpenAI refuses a piece that is shorter than 0.1 s. Such a piece contains no speech.
_LEAST_MS = 100
# The end of OpenAI's host names in all regions.
_ITS_HOST = "api.openai.com"
# Matches OpenAI's refusal of a language that the model does not know.
_LANGUAGE = re.compile("language", re.IGNORECASE)

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class _OpenAIWord(msgspec.Struct, frozen=True):
    word: str
    start: float
    end: float
    probability: float | None = None


class _OpenAISegment(msgspec.Struct, frozen=True):
    text: str
    start: float
    end: float
    # The mean over its tokens.
    avg_logprob: float | None = None
    words: Sequence[_OpenAIWord] | None = None
    # "A", "B", …: only of a model that diarizes.
    speaker: str | None = None


class _OpenAILanguage(msgspec.Struct, frozen=True):
    code: str


class _OpenAIAnswer(msgspec.Struct, frozen=True):
    text: str
    language: str | None = None
    # From gpt-transcribe instead of `language`; empty when it is unsure.
    languages: Sequence[_OpenAILanguage] | None = None
    segments: Sequence[_OpenAISegment] | None = None
    words: Sequence[_OpenAIWord] | None = None


def account_of(choice: SlotChoice) -> Account:
    """The account that the slot's setting names."""
    host = urlsplit(choice.base_url or BASE_URL).hostname or ""
    return Account(
        name="OpenAI" if host.endswith(_ITS_HOST) else "The OpenAI-compatible service",
        slot=choice.slot, base_url=choice.base_url or BASE_URL, key=choice.key,
        headers={"Authorization": f"Bearer {choice.key}"} if choice.key else {},
    )  # fmt: skip


class _OpenAIModel(msgspec.Struct, frozen=True):
    shutdown_date: object = None


class OpenAI:
    """The Transcriber of OpenAI, and of services with OpenAI's API.

    A model that diarizes numbers the speakers of each file independently. So such a model gets the recording
    as one file. A recording that is longer than the model accepts is refused.
    """

    reads_samples: bool = True
    tells_languages: bool = False

    def __init__(self, choice: SlotChoice, clock: Clock, patience: Patience, policy: OutboundPolicy) -> None:
        self._account = account_of(choice)
        self.model = choice.model or MODEL
        self._traits = traits_of(self.model)
        self.piecewise: bool = not self._traits.diarizes
        self.tells_speakers: bool = self._traits.diarizes
        self._clock = clock
        self._patience = patience
        self._policy = policy

    async def transcribe(self, clip: Clip, wish: Wish, report: Callable[[float], None]) -> Heard:
        """See `Transcriber.transcribe`. Raises SpeechError and TryAgain (see `speech_service`), and OSError.

        Also raises SpeechError when the clip is too long for the model or for one file.
        """
        length = clip.end_ms - clip.start_ms
        if length < _LEAST_MS:
            report(1.0)
            return heard((), clip, language=None, probability=None, model=self.model)
        if self._traits.most_seconds is not None and length > self._traits.most_seconds * 1000:
            raise SpeechError(
                "provider_error",
                f"{self.model} takes {self._traits.most_seconds} s of audio at most, and this recording has "
                f"{length / 1000:.0f} s.",
                remedy=f"Name another model: `lapel providers set {self._account.slot} --model NAME`.",
            )
        piece = await _piece(clip)
        try:
            async with speech_service(self._account, self._clock, self._patience, self._policy) as service:
                answer = await self._answer(service, piece, wish, lambda sent: report(sent / 2))
        finally:
            piece[0].unlink(missing_ok=True)
        found = await asyncio.to_thread(_heard, answer, clip, wish, self.model)
        report(1.0)
        return found

    async def _answer(
        self, service: Service, piece: tuple[Path, str], wish: Wish, report: Callable[[float], None]
    ) -> _OpenAIAnswer:
        """Send the piece. If the model refuses the language, send the piece again without the language.

        Raises what `Service.ask` raises.
        """
        reached = 0.0

        def onwards(sent: float) -> None:  # a second request does not reduce the progress
            nonlocal reached
            reached = max(reached, sent)
            report(reached)

        async def ask(*, with_language: bool) -> _OpenAIAnswer:
            fields = self._traits.fields(self.model, wish, with_language=with_language)
            upload = FileUpload(
                path=piece[0], content_type=piece[1], file_name=piece[0].name, fields=fields, report=onwards
            )
            return await service.ask("POST", "/audio/transcriptions", _OpenAIAnswer, send=upload)

        try:
            return await ask(with_language=True)
        except RefusedForGood as refused:
            may_be_left_out = wish.language is not None and self._traits.language == "languages[]"
            if not (may_be_left_out and refused.status == 400 and _LANGUAGE.search(refused.detail)):
                raise
            _log.warning("speech.language_left_out", model=self.model, said=refused.detail)
        return await ask(with_language=False)

    async def shutdown_date(self) -> date | None:
        """The day on which the service ends the model; None if the service does not name a day.

        Raises SpeechError and TryAgain, as `speech_service` does.
        """
        async with speech_service(self._account, self._clock, self._patience, self._policy) as service:
            told = await service.ask("GET", f"/models/{quote(self.model, safe='')}", _OpenAIModel)
        return _date(told.shutdown_date)


def _date(told: object) -> date | None:
    """A day, from Unix seconds or ISO 8601, because the specification does not say which. Otherwise None."""
    try:
        if isinstance(told, int | float) and not isinstance(told, bool):
            return datetime.fromtimestamp(told, UTC).date()
        return datetime.fromisoformat(told).date() if isinstance(told, str) else None
    except (ValueError, OverflowError, OSError):
        return None


async def _piece(clip: Clip) -> tuple[Path, str]:
    """Write the piece to a file beside the samples. Returns the file and its content type.

    Raises SpeechError when the file exceeds the limit.
    """
    from lapel.slices.transcription.providers.encoding import encode  # noqa: PLC0415  # FFmpeg is not small

    file, content_type = await asyncio.to_thread(
        encode, clip.pcm, clip.start_ms, clip.end_ms, clip.pcm.parent, most_bytes=_MOST_BYTES
    )
    if file.stat().st_size > _MOST_BYTES:
        file.unlink()
        raise SpeechError("processing_error", "A piece of the recording is too long to be sent.")
    return file, content_type


def _heard(answer: _OpenAIAnswer, clip: Clip, wish: Wish, model: str) -> Heard:
    words = [_said(word) for segment in answer.segments or () for word in segment.words or ()]
    words = words or [_said(word) for word in answer.words or ()]
    said = _segments(answer.segments or (), words, wish) or stretches(words) or [Said(text=answer.text)]
    told = answer.language or next((each.code for each in answer.languages or ()), None)
    language = spoken(told, wish.language)
    return heard(said, clip, language=language, probability=None, model=model)


def _segments(segments: Sequence[_OpenAISegment], words: Sequence[Said], wish: Wish) -> list[Said]:
    """The segments with their words: a word belongs to the first segment that ends after the word's middle.

    Words after the last segment belong to the last segment. Both inputs are in order of time.
    """
    found: list[Said] = []
    at = 0
    for number, segment in enumerate(segments):
        first, is_last = at, number == len(segments) - 1
        while at < len(words) and (is_last or _middle(words[at]) < segment.end):
            at += 1
        sure = None if segment.avg_logprob is None else math.exp(min(segment.avg_logprob, 0.0))
        inner = [
            word if word.confidence is not None else replace(word, confidence=sure)
            for word in words[first:at]
        ]
        found.append(
            Said(
                text=segment.text, start=segment.start, end=segment.end, confidence=sure, words=inner,
                speaker=segment.speaker if wish.diarization else None,
            )
        )  # fmt: skip
    return found


def _middle(word: Said) -> float:
    return ((word.start or 0.0) + (word.end or 0.0)) / 2


def _said(word: _OpenAIWord) -> Said:
    return Said(text=word.word, start=word.start, end=word.end, confidence=word.probability)
