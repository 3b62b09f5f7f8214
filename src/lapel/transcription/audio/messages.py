"""What the audio process is asked. It answers with AudioFacts."""

from __future__ import annotations

import os

import msgspec

SAMPLE_RATE = 16_000
# Codes of the refusals that are no fault of the file: a disk without room, and one that fails otherwise.
DISK_FULL = "disk_full"
DISK = "disk"


class Decode(msgspec.Struct, frozen=True, kw_only=True):
    """Decode a file, whatever it turns out to be.

    `pcm`: where the samples go (16 kHz, mono, signed 16-bit little-endian), None to look only.
    `declared`: the content type that the uploader named. `max_seconds`: longer audio is refused.
    `spare_bytes`: what must stay free on the disk that takes the samples.
    """

    file: str
    pcm: str | None
    declared: str
    max_seconds: float
    spare_bytes: int

    def files(self) -> list[tuple[str, int]]:
        """What the parent opens for it. A pipe, which is no audio file, must not keep the parent waiting."""
        written = [] if self.pcm is None else [(self.pcm, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)]
        return [(self.file, os.O_RDONLY | os.O_NONBLOCK), *written]
