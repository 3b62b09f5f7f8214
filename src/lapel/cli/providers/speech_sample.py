"""Tests an engine of speech: it transcribes 25 s of a public audiobook."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lapel.cli.doctor.speech_models import model_warnings
from lapel.cli.shared.faults import CommandError
from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.sample import speech
from lapel.slices.transcription.copies.remote_copies import delete_copy
from lapel.slices.transcription.providers.protocol import Clip, Wish
from lapel.slices.transcription.providers.transcribers import transcriber
from lapel.slices.transcription.speech.failures import SpeechError, TryAgain
from lapel.slices.transcription.speech.transcript import Segment

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.providers.choice import SlotChoice
    from lapel.slices.transcription.providers.protocol import Transcriber
    from lapel.slices.transcription.speech.messages import Heard


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """An engine's transcript of the sample. `seconds`: how long it took. `known`: the sample's known text.

    `model`: the model that answered. `warnings`: about the service, such as the day on which it ends a model.
    """

    slot: str
    engine: str
    model: str
    seconds: float
    language: str | None
    language_probability: float | None
    segments: list[Segment]
    known: str
    warnings: list[str]


async def speech_tested(ports: Ports, choice: SlotChoice, language: str | None) -> Tested:
    """Let the engine of a slot transcribe the sample.

    Raises CommandError for the local engine, SpeechError and TryAgain as `Transcriber.transcribe` does.
    """
    copies: list[str] = []

    async def remember(copy_id: str) -> None:
        copies.append(copy_id)

    engine = transcriber(
        choice,
        local=_local,
        clock=ports.clock,
        policy=OutboundPolicy.of(ports.settings),
        remember=remember,
    )
    sample, wish, began = speech(), Wish(language=language), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lapel-") as folder:
        pcm = Path(folder) / "audio.pcm"
        if engine.reads_samples:
            await asyncio.to_thread(_decode, sample.path, pcm)
        clip = Clip(
            file=sample.path, content_type=sample.content_type, pcm=pcm, start_ms=0, end_ms=sample.duration_ms
        )
        try:
            heard: Heard = await engine.transcribe(clip, wish, lambda _: None)
        finally:
            left = await _deleted(ports, choice, copies)
    return Tested(
        slot=choice.slot,
        engine=choice.engine,
        model=heard.model,
        seconds=round(time.monotonic() - began, 2),
        language=heard.language,
        language_probability=heard.language_probability,
        segments=heard.segments,
        known=sample.text,
        warnings=[*left, *await model_warnings(ports, choice)],
    )


async def _deleted(ports: Ports, choice: SlotChoice, copies: list[str]) -> list[str]:
    """Deletes the copies of the sample at the service; returns a sentence for each copy that it keeps."""
    left: list[str] = []
    for copy_id in copies:
        try:
            await delete_copy(ports, choice, copy_id)
        except (SpeechError, TryAgain) as fault:
            left.append(f"The service still has the transcript {copy_id}: {fault.message}")
    return left


def _local(_model: str | None) -> Transcriber:
    raise CommandError(
        "the local engine answers this name, so there is no service to test. `lapel transcribe FILE` tests "
        "the local engine; `lapel providers set` chooses another engine."
    )


def _decode(file: Path, pcm: Path) -> None:
    from lapel.slices.transcription.audio.decoder_messages import Decode  # noqa: PLC0415
    from lapel.slices.transcription.audio.pcm_decoding import decode  # noqa: PLC0415  # FFmpeg is not small

    decode(Decode(file=str(file), pcm=str(pcm), declared="audio/opus", max_seconds=60, spare_bytes=0))


def told(tested: Tested) -> str:
    """The transcript, for people."""
    language = tested.language or "not told"
    lines = [f"{tested.engine}, {tested.model}: {tested.seconds} s, language {language}", ""]
    for each in tested.segments:
        speaker = "" if each.speaker is msgspec.UNSET else f"{each.speaker}  "
        lines.append(f"{each.start:6.2f} – {each.end:6.2f}  {speaker}{each.text}")
    warnings = [f"Warning: {each}" for each in tested.warnings]
    return "\n".join([*lines, "", f"Known text: {tested.known}", *warnings])
