"""ElevenLabs: one form with the file. Source: `POST /v1/speech-to-text` in the vendor's client elevenlabs
2.78.0, November 2026. The transcript stays in the account's history until Lapel deletes it."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec
import structlog

from lapel.slices.providers.http.account import Account
from lapel.slices.providers.http.provider_client import to_its_end
from lapel.slices.transcription.providers.heard import Said, heard, stretches
from lapel.slices.transcription.providers.speech_service import speech_service, upload_of
from lapel.slices.transcription.speech.provider_languages import primary, spoken

if TYPE_CHECKING:
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.outbound.policy import OutboundPolicy
    from lapel.slices.providers.http.provider_client import Patience
    from lapel.slices.providers.service import SlotChoice
    from lapel.slices.transcription.providers.protocol import Clip, Remember, Wish
    from lapel.slices.transcription.speech.messages import Heard

BASE_URL = "https://api.elevenlabs.io"
MODEL = "scribe_v2"
# The ids that are accepted: strict, because an id becomes part of a path.
_ID = re.compile("[A-Za-z0-9_-]{1,100}")

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class _Token(msgspec.Struct, frozen=True):
    text: str
    # `word`, `spacing` (the text between two words) or `audio_event` ("(laughter)").
    type: str = "word"
    start: float | None = None
    end: float | None = None
    speaker_id: str | None = None
    # Natural logarithm of the probability, never above 0.
    logprob: float | None = None


class _ElevenLabsAnswer(msgspec.Struct, frozen=True):
    text: str
    language_code: str | None = None
    language_probability: float | None = None
    words: Sequence[_Token] | None = None
    transcription_id: str | None = None


def account_of(choice: SlotChoice) -> Account:
    """The account that the slot's setting names."""
    return Account(
        name="ElevenLabs", slot=choice.slot, base_url=choice.base_url or BASE_URL,
        key=choice.key, headers={"xi-api-key": choice.key} if choice.key else {},
    )  # fmt: skip


def copy_path(copy: str) -> str:
    """The path at which a transcript in the account's history is deleted."""
    return f"/v1/speech-to-text/transcripts/{copy}"


class ElevenLabs:
    """The Transcriber of ElevenLabs."""

    piecewise: bool = False
    reads_samples: bool = False
    tells_speakers: bool = True
    tells_languages: bool = False

    def __init__(
        self, choice: SlotChoice, clock: Clock, patience: Patience, policy: OutboundPolicy, remember: Remember
    ) -> None:
        self._account = account_of(choice)
        self._remember = remember
        self._model = choice.model or MODEL
        self._clock = clock
        self._patience = patience
        self._policy = policy

    async def transcribe(self, clip: Clip, wish: Wish, report: Callable[[float], None]) -> Heard:
        """See `Transcriber.transcribe`. Raises SpeechError and TryAgain as `speech_service` does, OSError,
        and what `remember` raises."""
        fields = [
            ("model_id", self._model), ("timestamps_granularity", "word"), ("tag_audio_events", "false"),
            ("diarize", "true" if wish.diarization else "false"),
        ]  # fmt: skip
        if wish.diarization and wish.num_speakers is not None:
            # An upper bound on the speakers, not their exact number.
            fields.append(("num_speakers", str(wish.num_speakers)))
        if wish.language is not None:
            fields.append(("language_code", primary(wish.language)))
        async with speech_service(self._account, self._clock, self._patience, self._policy) as service:
            send = upload_of(clip, lambda sent: report(sent / 2), fields)
            answer = await service.ask("POST", "/v1/speech-to-text", _ElevenLabsAnswer, send=send)
        copy = answer.transcription_id
        if copy is not None and _ID.fullmatch(copy):
            await to_its_end(self._remember(copy))
        elif copy is not None:
            _log.warning("speech.copy_not_deletable", provider="elevenlabs", id=copy[:100])
        found = await asyncio.to_thread(_heard, answer, clip, wish, self._model)
        report(1.0)
        return found


def _heard(answer: _ElevenLabsAnswer, clip: Clip, wish: Wish, model: str) -> Heard:
    said = stretches(_words(answer.words or (), wish)) or [Said(text=answer.text)]
    language = spoken(answer.language_code, wish.language)
    return heard(said, clip, language=language, probability=answer.language_probability, model=model)


def _words(tokens: Sequence[_Token], wish: Wish) -> Iterator[Said]:
    """The words, each with the spacing before it, which is empty in some languages."""
    before = ""
    for token in tokens:
        if token.type == "spacing":
            before += token.text
        elif token.type == "word":
            yield Said(
                text=token.text, start=token.start, end=token.end, before=before,
                confidence=None if token.logprob is None else math.exp(min(token.logprob, 0.0)),
                speaker=token.speaker_id if wish.diarization else None,
            )  # fmt: skip
            before = ""
        elif token.type == "audio_event":
            before = before or " "
