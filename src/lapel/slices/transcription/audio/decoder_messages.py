"""The request to the audio process. The answer is AudioFacts."""

from __future__ import annotations

import os

import msgspec

SAMPLE_RATE = 16_000
# Refusal codes that do not blame the uploaded file: the disk is full, or the disk fails otherwise.
DISK_FULL = "disk_full"
DISK = "disk"


class Decode(msgspec.Struct, frozen=True, kw_only=True):
    """Decode a file of any format.

    `pcm`: path for the samples (16 kHz, mono, signed 16-bit little-endian), None to write none.
    `declared`: the content type that the uploader named. `max_seconds`: longer audio is refused.
    `spare_bytes`: bytes that must stay free on the disk of the samples.
    """

    file: str
    pcm: str | None
    declared: str
    max_seconds: float
    spare_bytes: int

    def files(self) -> list[tuple[str, int]]:
        """The files that the parent opens for the child. If `file` is a pipe, O_NONBLOCK avoids a wait."""
        written = [] if self.pcm is None else [(self.pcm, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)]
        return [(self.file, os.O_RDONLY | os.O_NONBLOCK), *written]
