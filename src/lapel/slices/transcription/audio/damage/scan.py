"""Reads the container of a file for damage, before the file is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from lapel.slices.transcription.audio.damage.byte_source import ByteSource
from lapel.slices.transcription.audio.damage.file_places import FilePlace, Unscannable
from lapel.slices.transcription.audio.damage.matroska_elements import MatroskaScan
from lapel.slices.transcription.audio.damage.mp4_boxes import scan_mp4
from lapel.slices.transcription.audio.damage.mpeg_frames import FrameScan
from lapel.slices.transcription.audio.damage.ogg_pages import scan_ogg
from lapel.slices.transcription.audio.damage.riff_chunks import scan_caf, scan_w64, scan_wav

# By FFmpeg's name of the format. FLAC and the formats of uncompressed samples have headers that say the
# length; what else is wrong in them is found while they are decoded.
_SCANS: dict[str, Callable[[ByteSource], Iterator[FilePlace]]] = {
    "caf": scan_caf,
    "mov,mp4,m4a,3gp,3g2,mj2": scan_mp4,
    "ogg": scan_ogg,
    "w64": scan_w64,
    "wav": scan_wav,
}
_MATROSKA = "matroska,webm"
# Formats whose length FFmpeg reads from a header and does not guess from the file's size.
_SAYS_LENGTH = frozenset(("aiff", "au", "flac", "mov,mp4,m4a,3gp,3g2,mj2"))
# The most places that are kept. The last of them then stands for all that follow.
MOST_PLACES = 1_000


class Scanned(NamedTuple):
    """What a container says. `claimed_ms`: how long the audio is; None if it does not say."""

    places: list[FilePlace]
    claimed_ms: int | None


def scan(source: ByteSource, demuxer: str, claimed_ms: int | None, *, alone: bool) -> Scanned:
    """The damage that the container of a file shows, in order.

    `demuxer`: FFmpeg's name of the format. `claimed_ms`: the length according to FFmpeg. `alone`: the file
    has no other stream, which may be longer. A file that takes too much work is scanned in part. Raises
    OSError when the file cannot be read.
    """
    places: list[FilePlace] = []
    claimed = claimed_ms if demuxer in _SAYS_LENGTH else None
    reader: FrameScan | MatroskaScan | None = None
    if demuxer == _MATROSKA:
        reader = MatroskaScan(source)
    elif demuxer in ("aac", "mp3"):
        reader = FrameScan(source, is_adts=demuxer == "aac")
    with suppress(Unscannable):
        if reader is not None:
            _collect(reader.places(), places)
        elif demuxer in _SCANS:
            _collect(_SCANS[demuxer](source), places)
    if reader is not None:
        claimed = reader.claimed_ms if alone else None
    return Scanned(sorted(places, key=lambda place: place.begin), claimed)


def _collect(found: Iterator[FilePlace], places: list[FilePlace]) -> None:
    for place in found:
        if len(places) < MOST_PLACES:
            places.append(place)
        else:
            last = places[-1]
            missing = None if None in (last.missing_ms, place.missing_ms) else (last.missing_ms or 0)
            if missing is not None:
                missing += place.missing_ms or 0
            places[-1] = last._replace(missing_ms=missing)
