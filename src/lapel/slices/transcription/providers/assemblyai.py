"""AssemblyAI: upload the file, order a transcript of it, and poll until the transcript is complete.

Source: `/v2/upload` and `/v2/transcript` in AssemblyAI/assemblyai-api-spec 1.3.4, its client 1.8.2 and its
pages "Select the speech model" and "Changelog", November 2026. AssemblyAI keeps the transcript and the
uploaded file until the transcript is deleted. An upload without a transcript cannot be deleted; AssemblyAI
removes it after 24 to 48 hours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
import structlog

from lapel.slices.providers.http.account import Account
from lapel.slices.providers.http.provider_client import to_its_end
from lapel.slices.providers.service import ProviderAway
from lapel.slices.transcription.providers.heard import Said, heard, stretches
from lapel.slices.transcription.providers.speech_service import speech_service, upload_of
from lapel.slices.transcription.speech.failures import SpeechError, TryAgain
from lapel.slices.transcription.speech.provider_languages import primary, spoken

if TYPE_CHECKING:
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.outbound.policy import OutboundPolicy
    from lapel.slices.providers.http.provider_client import Patience, Service
    from lapel.slices.providers.service import SlotChoice
    from lapel.slices.transcription.providers.protocol import Clip, Remember, Wish
    from lapel.slices.transcription.speech.messages import Heard

BASE_URL = "https://api.assemblyai.com"
# The second model takes the languages that the first model does not know. If a request has no list of models,
# AssemblyAI chooses by the age of the account.
MODELS = ("assemblyai-stt-3-7", "universal-2")
# AssemblyAI has regional codes for English only, and codes of its own for two languages.
_ENGLISH = {"en-us": "en_us", "en-gb": "en_uk", "en-au": "en_au"}
_ITS_CODES = {"jv": "jw", "fil": "tl"}
# After this many failed polls in a row, the step fails and is tried again with a new upload.
_FAILED_POLLS = 5
# After an error with one of these texts another try may succeed. `_NOBODY_SPEAKS` is the error for audio
# without speech, in which no language can be detected.
_ITS_FAULT = ("server error", "try again", "retry")
_NOBODY_SPEAKS = "no spoken audio"
# The text of a deleted transcript, whose status stays `completed`.
_DELETED = "Deleted by user."
_MOST_WARNINGS = 5

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class _Uploaded(msgspec.Struct, frozen=True):
    upload_url: str


class _Word(msgspec.Struct, frozen=True):
    # Milliseconds.
    text: str
    start: float
    end: float
    confidence: float | None = None
    speaker: str | None = None


class _Utterance(_Word, frozen=True):
    words: Sequence[_Word] = ()


class _Warning(msgspec.Struct, frozen=True):
    message: str = ""


class _Metadata(msgspec.Struct, frozen=True):
    warning: str | None = None
    warnings: Sequence[_Warning] | None = None


class _Job(msgspec.Struct, frozen=True):
    id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,100}\Z")]
    status: str
    error: str | None = None
    text: str | None = None
    confidence: float | None = None
    words: Sequence[_Word] | None = None
    utterances: Sequence[_Utterance] | None = None
    language_code: str | None = None
    language_confidence: float | None = None
    speech_model_used: str | None = None
    metadata: _Metadata | None = None


def account_of(choice: SlotChoice) -> Account:
    """The account that the slot's setting names."""
    return Account(
        name="AssemblyAI", slot=choice.slot, base_url=choice.base_url or BASE_URL,
        key=choice.key, headers={"Authorization": choice.key} if choice.key else {},
    )  # fmt: skip


def copy_path(copy: str) -> str:
    """The path at which a transcript is read, and deleted together with its upload."""
    return f"/v2/transcript/{copy}"


class AssemblyAI:
    """The Transcriber of AssemblyAI. The slot's `model` may list several models by priority: `a,b`."""

    piecewise: bool = False
    reads_samples: bool = False
    tells_speakers: bool = True
    tells_languages: bool = False

    def __init__(
        self, choice: SlotChoice, clock: Clock, patience: Patience, policy: OutboundPolicy, remember: Remember
    ) -> None:
        self._account = account_of(choice)
        self._remember = remember
        self._models = [each.strip() for each in choice.model.split(",")] if choice.model else list(MODELS)
        self._clock = clock
        self._patience = patience
        self._policy = policy

    async def transcribe(self, clip: Clip, wish: Wish, report: Callable[[float], None]) -> Heard:
        """See `Transcriber.transcribe`. Raises SpeechError and TryAgain as `speech_service` does, OSError,
        and what `remember` raises."""
        async with speech_service(self._account, self._clock, self._patience, self._policy) as service:
            send = upload_of(clip, lambda sent: report(sent * 0.4), as_bytes=True)
            uploaded = await service.ask("POST", "/v2/upload", _Uploaded, send=send)
            order = msgspec.json.encode(self._order(uploaded.upload_url, wish))
            job = await to_its_end(self._ordered(service, order))
            report(0.5)
            job = await _ended(service, job)
        self._log_warnings(job)
        if job.text == _DELETED and not job.words:
            raise TryAgain("provider_error", "AssemblyAI's transcript was deleted there before it was read.")
        if job.status == "error" and _NOBODY_SPEAKS not in (job.error or ""):
            detail = job.error or "it does not say why"
            raise self._failed(detail)
        # If several models are listed, only the answer says which one was used.
        model = job.speech_model_used or ",".join(self._models)
        found = await asyncio.to_thread(_heard, job, clip, wish, service.account.clean(model))
        report(1.0)
        return found

    def _failed(self, detail: str) -> SpeechError | TryAgain:
        message = f"AssemblyAI could not transcribe it: {self._account.clean(detail)}"
        again = any(each in detail.lower() for each in _ITS_FAULT)
        return TryAgain("provider_error", message) if again else SpeechError("provider_error", message)

    async def _ordered(self, service: Service, order: bytes) -> _Job:
        """Order the transcript and store its id, because the transcript can only be deleted by its id."""
        job = await service.ask("POST", "/v2/transcript", _Job, send=order)
        await self._remember(job.id)
        return job

    def _order(self, upload_url: str, wish: Wish) -> dict[str, object]:
        order: dict[str, object] = {
            "audio_url": upload_url, "punctuate": True, "format_text": True,
            "speaker_labels": wish.diarization, "speech_models": self._models,
        }  # fmt: skip
        if wish.diarization and wish.num_speakers is not None:
            order["speakers_expected"] = wish.num_speakers
        if wish.language is None:
            order["language_detection"] = True
            if wish.languages:
                among = list(dict.fromkeys(map(_its_code, wish.languages)))
                order["language_detection_options"] = {"expected_languages": among}
        else:
            order["language_code"] = _its_code(wish.language)
        return order

    def _log_warnings(self, job: _Job) -> None:
        """Log the service's warnings, for example about a field of the request that the model ignores."""
        if job.metadata is not None:
            messages = [job.metadata.warning or "", *(each.message for each in job.metadata.warnings or ())]
            for message in [each for each in messages if each][:_MOST_WARNINGS]:
                _log.warning(
                    "speech.provider_warns", provider="AssemblyAI", said=self._account.clean(message)
                )


async def _ended(service: Service, job: _Job) -> _Job:
    """The job once it is completed or has failed.

    Raises what `Service.ask` raises, and ProviderAway if the job takes too long.
    """
    clock, patience = asyncio.get_running_loop(), service.patience
    deadline, wait, failed = clock.time() + patience.total, patience.first_poll, 0
    while job.status not in ("completed", "error"):
        if job.status not in ("queued", "processing"):
            raise service.account.unreadable(f"there is no status {job.status!r}")
        if clock.time() > deadline:
            raise ProviderAway(f"{service.account.name} does not finish the transcript.", how="timed_out")
        await asyncio.sleep(wait)
        try:
            job = await service.ask("GET", copy_path(job.id), _Job)
        except ProviderAway as fault:
            failed += 1
            if failed >= _FAILED_POLLS:
                raise
            wait = max(wait, fault.after or 0.0)
        else:
            failed, wait = 0, min(wait * 1.5, patience.longest_poll)
    return job


def _its_code(language: str) -> str:
    asked = language.lower().replace("_", "-")
    short = primary(asked)
    return _ENGLISH.get(asked) or _ITS_CODES.get(short, short)


def _heard(job: _Job, clip: Clip, wish: Wish, model: str) -> Heard:
    said = [
        Said(
            text=each.text, start=each.start / 1000, end=each.end / 1000, confidence=each.confidence,
            speaker=each.speaker if wish.diarization else None, words=[_said(word) for word in each.words],
        )
        for each in job.utterances or ()
    ]  # fmt: skip
    said = said or stretches(_said(word) for word in job.words or ())
    said = said or [Said(text=job.text or "", confidence=job.confidence)]
    language = spoken(job.language_code, wish.language)
    return heard(said, clip, language=language, probability=job.language_confidence, model=model)


def _said(word: _Word) -> Said:
    return Said(
        text=word.text, start=word.start / 1000, end=word.end / 1000, confidence=word.confidence,
        speaker=word.speaker,
    )  # fmt: skip
