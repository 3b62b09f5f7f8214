"""Connections to speech services, and the upload of a recording's file to them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from lapel.slices.providers.http.provider_client import Service
from lapel.slices.providers.http.sending import FileUpload
from lapel.slices.transcription.providers.speech_failures import speech_failures

if TYPE_CHECKING:
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.outbound.policy import OutboundPolicy
    from lapel.slices.providers.http.account import Account
    from lapel.slices.providers.http.provider_client import Patience
    from lapel.slices.transcription.providers.protocol import Clip

_BYTES = "application/octet-stream"
# Maps a recording's content type to the type that providers know, and to a fitting file extension.
_NAMES = {
    "audio/opus": ("audio/ogg", "ogg"),
    "audio/ogg": ("audio/ogg", "ogg"),
    "audio/wav": ("audio/wav", "wav"),
    "audio/mpeg": ("audio/mpeg", "mp3"),
    "audio/mp4": ("audio/mp4", "m4a"),
    "audio/x-m4a": ("audio/mp4", "m4a"),
    "audio/webm": ("audio/webm", "webm"),
    "audio/flac": ("audio/flac", "flac"),
    "audio/aac": ("audio/aac", "aac"),
}


@asynccontextmanager
async def speech_service(
    account: Account, clock: Clock, patience: Patience, policy: OutboundPolicy
) -> AsyncGenerator[Service]:
    """A connection to a speech service, during the block. Its failures leave the block as SpeechError and
    TryAgain."""
    with speech_failures():
        async with Service(account, clock, patience, policy) as service:
            yield service


def upload_of(
    clip: Clip,
    report: Callable[[float], None],
    fields: Sequence[tuple[str, str]] | None = None,
    *,
    as_bytes: bool = False,
) -> FileUpload:
    """The recording's uploaded file. `as_bytes`: send no content type, because the receiver detects it."""
    content_type, ending = _NAMES.get(clip.content_type, (_BYTES, "bin"))
    return FileUpload(
        path=clip.file,
        content_type=_BYTES if as_bytes else content_type,
        file_name=f"recording.{ending}",
        report=report,
        fields=fields,
    )
