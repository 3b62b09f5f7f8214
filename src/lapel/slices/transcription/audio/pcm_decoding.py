"""One pass over a file: find its audio, decode it, collect its properties. Runs in a process of its own.

Demuxers and decoders are FFmpeg's, called through PyAV.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import av
from av.container.core import Flags
from av.error import FFmpegError

from lapel.foundation.workers.worker_child import Refusal, open_file
from lapel.slices.transcription.audio.audio_facts import MOST_DAMAGE, AudioFacts
from lapel.slices.transcription.audio.audio_formats import (
    DECODERS,
    DEMUXERS,
    begins_like_audio,
    names,
    true_type,
)
from lapel.slices.transcription.audio.damage.byte_source import ByteSource
from lapel.slices.transcription.audio.damage.damage_record import DamageRecord, gaps_of
from lapel.slices.transcription.audio.damage.flac_frames import FlacPlaces
from lapel.slices.transcription.audio.damage.scan import scan
from lapel.slices.transcription.audio.decoder_messages import DISK
from lapel.slices.transcription.audio.mixing import Mixer, settle_layout
from lapel.slices.transcription.audio.pieces import cut_at_gaps
from lapel.slices.transcription.audio.plausibility import Plausibility
from lapel.slices.transcription.audio.sink import Sink, opened_sink

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from io import FileIO

    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet

    from lapel.slices.transcription.audio.decoder_messages import Decode

_HEAD = 64  # bytes at the start that show which format a file was meant to be
_BUFFER = 256 * 1024
_SHORTEST_MS = 1_000
# Bytes of a sample, and of the rest of a frame, that no FLAC exceeds.
_LARGEST_SAMPLE, _LARGEST_HEAD = 4, 256
# Formats whose time stamps tell how much audio is missing at a damaged place.
_TIMED = ("matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2")
# After so many bytes of garbage FFmpeg's reader of Ogg gives up, and goes on if it is asked again.
_GIVES_UP = 65_307

_UNKNOWN = "This is no audio file of a format we know: opus, ogg, wav, mp3, m4a, mp4, webm, flac and aac are."


class _ForeignFile(Exception):
    """The file asks FFmpeg to open another file."""


class _InputFile:
    """The file object that FFmpeg sees. It has no name, so that FFmpeg learns no extension and no folder."""

    def __init__(self, file: FileIO, *, seekable: bool = True) -> None:
        self._file = file
        self._seekable = seekable

    def seekable(self) -> bool:
        return self._seekable

    def read(self, size: int) -> bytes:
        try:
            return self._file.read(size) or b""
        except OSError as error:
            raise _unread(error) from None

    def seek(self, offset: int, whence: int) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError:
            return -1  # a made-up size in a header led to a position before the start

    def tell(self) -> int:
        return self._file.tell()


def decode(request: Decode) -> AudioFacts:
    """Decode the first audio stream of a file; write its samples to `request.pcm` if that is set.

    Samples: 16 kHz, mono, signed 16-bit little-endian. If the file is damaged, its decodable part is used,
    because a device that loses its power leaves a recording with a torn end. A file counts as corrupt if more
    packets fail than decode, if reading stops before the middle of the file, or if the file is damaged and
    less than a second of it can be decoded.

    Raises Refusal. Its code is one of the contract (`failures.Code`), `disk_full` when the disk of `pcm` is
    full, or `disk` when a file cannot be read from or written to this machine's disk.
    """
    try:
        with _opened(request.file) as file:
            head = _InputFile(file).read(_HEAD)
            if not head:
                raise Refusal("audio_corrupt", "The file is empty. Upload the recording again.")
            file.seek(0)
            with _opened_container(file, head) as container, opened_sink(request) as sink:
                size = os.fstat(file.fileno()).st_size
                return _decode_audio(container, head, ByteSource(file.fileno(), size), request, sink)
    except MemoryError:
        raise Refusal(
            "audio_corrupt", "Decoding this file takes more memory than is allowed; it is damaged or made up."
        ) from None
    except _ForeignFile:
        raise Refusal("unsupported_format", "The file is a reference to other files, not audio.") from None


def _decode_audio(
    container: InputContainer, head: bytes, source: ByteSource, request: Decode, sink: Sink
) -> AudioFacts:
    stream = _first_audio(container)
    damage = _damage(container, stream, source)
    # With this flag FFmpeg would queue all packets that have no time stamps, to guess their times.
    container.flags &= ~Flags.gen_pts.value
    reading = _Reading(
        container,
        stream,
        source.size,
        Plausibility(request, source.size, stream.codec_context.codec.canonical_name),
        damage,
    )
    mixer = Mixer()
    for frame in reading.frames():
        for samples in mixer.put(frame):
            sink.take(samples)
    for samples in mixer.finish():
        sink.take(samples)
    _accept(reading, source.size, sink.duration_ms, container.duration)
    codec = stream.codec_context.codec.canonical_name
    torn = reading.torn or reading.leaves_bytes(source)
    damaged = damage.finish(sink.duration_ms, torn=torn, most=MOST_DAMAGE)
    short, types = names(container.format.name, codec, head, container.metadata.get("major_brand", ""))
    return AudioFacts(
        duration_ms=sink.duration_ms,
        channels=reading.channels,
        sample_rate=reading.sample_rate,
        codec=codec,
        container=short,
        mime_type=true_type(request.declared, types),
        peaks=sink.peaks.finish(),
        pieces=cut_at_gaps(sink.levels.finish(), sink.duration_ms, gaps_of(damaged, sink.duration_ms)),
        damage=damaged,
    )


def _damage(container: InputContainer, stream: AudioStream, source: ByteSource) -> DamageRecord:
    """What the container shows before anything is decoded."""
    claimed = None
    if stream.duration is not None and stream.duration > 0 and stream.time_base is not None:
        claimed = int(stream.duration * stream.time_base * 1000)
    try:
        scanned = scan(source, container.format.name, claimed, alone=len(container.streams) == 1)
    except OSError as error:
        raise _unread(error) from None
    name = container.format.name
    return DamageRecord(scanned, source.size, trusts_times=name in _TIMED, bears_faults=name == "mp3")


class _Reading:
    """Reads the frames of a stream up to its end and counts the faults on the way."""

    def __init__(
        self,
        container: InputContainer,
        stream: AudioStream,
        size: int,
        plausibility: Plausibility,
        damage: DamageRecord,
    ) -> None:
        """`size`: of the file, in bytes."""
        self._container, self._stream = container, stream
        self._packets = container.demux(stream)
        self._tries = 1 + size // _GIVES_UP
        self._plausibility = plausibility
        self._damage = damage
        self._flac = FlacPlaces() if container.format.name == "flac" else None
        self._is_plain = stream.codec_context.name.startswith("pcm_")
        self._end = 0  # of the last frame of a FLAC in the file, in bytes
        self._decoded = 0.0  # seconds
        self.good = self.bad = 0  # packets
        self.torn = False  # the container could not be read to its end
        self.reached: int | None = None  # where the last good packet begins in the file, in bytes
        self.channels = self.sample_rate = 0  # of the first frame, because the header may be wrong

    def frames(self) -> Iterator[AudioFrame]:
        while (packet := self._next()) is not None:
            self._plausibility.fed(packet.size)
            stamp = _seconds(packet.pts, packet)
            self._damage.reach(packet.pos, stamp, self._decoded)
            try:
                frames = packet.decode()
            except MemoryError:
                raise
            except FFmpegError:
                self.bad += 1
                self._damage.lose(_seconds(packet.duration, packet) or 0.0, self._decoded)
                continue
            self.good += 1
            self.reached = packet.pos or self.reached
            if packet.size:
                self._find_loss(packet, frames)
                self._damage.succeed(stamp, self._decoded)
            for frame in frames:
                if not self.sample_rate:
                    self.channels, self.sample_rate = frame.layout.nb_channels, frame.sample_rate
                self._plausibility.decoded(frame.samples, frame.layout.nb_channels, frame.sample_rate)
                self._decoded += frame.samples / max(frame.sample_rate, 1)
                yield frame

    def _find_loss(self, packet: Packet[AudioStream], frames: list[AudioFrame]) -> None:
        """Tell what is missing before a packet that was decoded, or in it."""
        if (
            packet.is_corrupt and not self._is_plain
        ):  # the last packet of plain samples is shorter than others
            self._damage.lose(0.0, self._decoded)
        if self._flac is None or not frames:
            return
        if packet.size > frames[0].samples * frames[0].layout.nb_channels * _LARGEST_SAMPLE + _LARGEST_HEAD:
            self._damage.lose(0.0, self._decoded)  # garbage behind the frame counts as a part of it
        lost = self._flac.take(bytes(packet)[:16], frames[0].samples, frames[0].sample_rate)
        if lost:
            self._damage.lose(lost, self._decoded)
        self._end = (packet.pos or 0) + packet.size

    def leaves_bytes(self, source: ByteSource) -> bool:
        """Whether bytes that are no frame, no tag and no padding follow the last frame of a FLAC."""
        end = self._end
        return 0 < end < source.size and not source.is_tag(end) and not source.is_padding(end)

    def _next(self) -> Packet[AudioStream] | None:
        while True:
            try:
                return next(self._packets, None)
            except MemoryError:
                raise
            except FFmpegError:
                self._tries -= 1
                if not self._damage.goes_on or self._tries < 0:
                    self.torn = True
                    return None
                self._packets = self._container.demux(self._stream)


def _seconds(units: int | None, packet: Packet[AudioStream]) -> float | None:
    return None if units is None else float(units * packet.time_base)


def _accept(reading: _Reading, size: int, duration_ms: int, claimed: int | None) -> None:
    """Raise Refusal when the decoded part is too short or too damaged.

    `size`: bytes of the file. `claimed`: duration according to the header, in microseconds.
    """
    unread = reading.torn and reading.reached is not None and reading.reached < size / 2
    if reading.bad > reading.good or unread:
        raise Refusal(
            "audio_corrupt", "Most of the audio in this file is damaged. Upload the recording again."
        )
    if duration_ms >= _SHORTEST_MS:
        return
    if reading.bad or reading.torn or (claimed or 0) >= 2 * _SHORTEST_MS * 1000:
        raise Refusal(
            "audio_corrupt",
            f"Only {duration_ms / 1000:g} s of this file can be decoded: it is damaged or was cut off."
            " Upload the recording again.",
        )
    raise Refusal("audio_too_short", f"The audio is {duration_ms / 1000:g} s long; it takes 1 s at least.")


def _first_audio(container: InputContainer) -> AudioStream:
    stream = next(iter(container.streams.audio), None)
    if stream is None:
        raise Refusal("unsupported_format", "There is no audio in this file.")
    # According to PyAV's type there is always a codec context. But without a decoder there is none.
    context = getattr(stream, "codec_context", None)
    if context is None or context.codec.name not in DECODERS:
        name = "of this file" if context is None else context.codec.canonical_name
        raise Refusal("unsupported_format", f"The audio codec {name} is not supported.")
    settle_layout(context)
    context.thread_count = 1  # files are decoded in parallel already, and each thread takes memory
    return stream


@contextmanager
def _opened(file: str) -> Generator[FileIO]:
    try:
        opened = open_file(file)
    except OSError as error:
        raise _unread(error) from None
    with opened:
        yield opened


def _unread(error: OSError) -> Refusal:
    return Refusal(DISK, f"The file cannot be read: {error.strerror}.")


@contextmanager
def _opened_container(file: FileIO, head: bytes) -> Generator[InputContainer]:
    try:
        container = _container(_InputFile(file))
    except MemoryError:
        raise
    except FFmpegError:
        if not begins_like_audio(head):
            raise Refusal("unsupported_format", _UNKNOWN) from None
        container = _container_without_index(file)
    with container:
        yield container


def _container_without_index(file: FileIO) -> InputContainer:
    """Open the file as a stream without seeking, so that FFmpeg does not look for an index at the file's end.

    FFmpeg would refuse a whole fragmented MP4 because of a torn index. Raises Refusal `audio_corrupt` when
    opening fails again.
    """
    file.seek(0)
    try:
        return _container(_InputFile(file, seekable=False))
    except MemoryError:
        raise
    except FFmpegError:
        raise Refusal(
            "audio_corrupt", "The file is damaged or incomplete. Upload the recording again."
        ) from None


def _container(file: _InputFile) -> InputContainer:
    return av.open(
        file,
        "r",
        options={
            "format_whitelist": DEMUXERS,
            "codec_whitelist": ",".join(sorted(DECODERS)),
            "protocol_whitelist": "none",
        },
        metadata_errors="replace",
        buffer_size=_BUFFER,
        io_open=_refuse_to_open,
    )


def _refuse_to_open(*_: object) -> NoReturn:
    raise _ForeignFile
