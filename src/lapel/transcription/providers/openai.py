"""Any service that speaks OpenAI's language: one form per piece of the recording.

Documentation: "Create transcription" in OpenAI's API reference (`POST /audio/transcriptions`). speaches,
vLLM, Groq, LocalAI and others follow it, some of them without times or words.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from lapel.transcription.failures import SpeechError
from lapel.transcription.providers.account import Account
from lapel.transcription.providers.heard import Said, heard, stretches
from lapel.transcription.providers.http import Service
from lapel.transcription.providers.languages import primary, spoken
from lapel.transcription.providers.sending import Upload

if TYPE_CHECKING:
    from pathlib import Path

    from lapel.foundation.clock import Clock
    from lapel.transcription.engine.messages import Heard
    from lapel.transcription.providers.http import Patience
    from lapel.transcription.providers.protocol import Clip, Wish
    from lapel.transcription.providers.slots import SlotChoice

BASE_URL = "https://api.openai.com/v1"
MODEL = "whisper-1"
# OpenAI's own limit of a file.
_MOST_BYTES = 25_000_000
# It refuses less than 0.1 s, in which nothing is said.
_LEAST_MS = 100
# These models of OpenAI's give text alone, and refuse to be asked for more.
_TEXT_ALONE = "gpt-4o"


class _Word(msgspec.Struct, frozen=True):
    word: str
    start: float
    end: float
    probability: float | None = None


class _Segment(msgspec.Struct, frozen=True):
    text: str
    start: float
    end: float
    # The mean of its tokens'.
    avg_logprob: float | None = None
    words: Sequence[_Word] | None = None


class _Answer(msgspec.Struct, frozen=True):
    text: str
    language: str | None = None
    segments: Sequence[_Segment] | None = None
    words: Sequence[_Word] | None = None


class OpenAI:
    """The Transcriber."""

    piecewise: bool = True
    tells_speakers: bool = False

    def __init__(self, choice: SlotChoice, clock: Clock, patience: Patience) -> None:
        self._account = Account(
            name="OpenAI" if choice.base_url is None else "The OpenAI-compatible service",
            slot=choice.slot, base_url=choice.base_url or BASE_URL, key=choice.key,
            headers={"Authorization": f"Bearer {choice.key}"} if choice.key else {},
        )  # fmt: skip
        self._model = choice.model or MODEL
        self._clock = clock
        self._patience = patience

    async def transcribe(self, clip: Clip, wish: Wish, report: Callable[[float], None]) -> Heard:
        """See Transcriber."""
        if clip.end_ms - clip.start_ms < _LEAST_MS:
            report(1.0)
            return heard((), clip, language=None, probability=None, model=self._model)
        piece = await _piece(clip)
        try:
            async with Service(self._account, self._clock, self._patience) as service:
                upload = Upload(
                    path=piece[0], content_type=piece[1], file_name=piece[0].name, fields=self._fields(wish),
                    report=lambda sent: report(sent / 2),
                )  # fmt: skip
                answer = await service.ask("POST", "/audio/transcriptions", _Answer, send=upload)
        finally:
            piece[0].unlink(missing_ok=True)
        found = await asyncio.to_thread(_heard, answer, clip, wish, self._model)
        report(1.0)
        return found

    def _fields(self, wish: Wish) -> list[tuple[str, str]]:
        fields = [("model", self._model)]
        if self._model.startswith(_TEXT_ALONE):
            fields.append(("response_format", "json"))
        else:
            fields += [
                ("response_format", "verbose_json"),
                ("timestamp_granularities[]", "word"),
                ("timestamp_granularities[]", "segment"),
            ]
        return [*fields, ("language", primary(wish.language))] if wish.language else fields


async def _piece(clip: Clip) -> tuple[Path, str]:
    """The piece as a file beside the samples, and its content type. Raises SpeechError."""
    from lapel.transcription.providers.encoding import encode  # noqa: PLC0415  # FFmpeg is not small

    file, content_type = await asyncio.to_thread(
        encode, clip.pcm, clip.start_ms, clip.end_ms, clip.pcm.parent, most_bytes=_MOST_BYTES
    )
    if file.stat().st_size > _MOST_BYTES:
        file.unlink()
        raise SpeechError("processing_error", "A piece of the recording is too long to be sent.")
    return file, content_type


def _heard(answer: _Answer, clip: Clip, wish: Wish, model: str) -> Heard:
    words = [_said(word) for segment in answer.segments or () for word in segment.words or ()]
    words = words or [_said(word) for word in answer.words or ()]
    said = _segments(answer.segments or (), words) or stretches(words) or [Said(text=answer.text)]
    language = spoken(answer.language, wish.language)
    return heard(said, clip, language=language, probability=None, model=model)


def _segments(segments: Sequence[_Segment], words: Sequence[Said]) -> list[Said]:
    """The segments, each with the words whose middle lies before its end (both come in order)."""
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
            Said(text=segment.text, start=segment.start, end=segment.end, confidence=sure, words=inner)
        )
    return found


def _middle(word: Said) -> float:
    return ((word.start or 0.0) + (word.end or 0.0)) / 2


def _said(word: _Word) -> Said:
    return Said(text=word.word, start=word.start, end=word.end, confidence=word.probability)
