"""Bounds on the audio that a file can hold: a file that yields more was made to cost time and money."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.workers.worker_child import Refusal

if TYPE_CHECKING:
    from lapel.slices.transcription.audio.decoder_messages import Decode

# Lowest bit rate of packets, in bit/s: no encoder makes less, even for a day of silence. Measured: libopus
# with DTX 133 (a byte in 60 ms or two in 120 ms), AAC at 8 kHz 255 (4 bytes in 1,024 samples), FLAC 980 to
# 1,320, WavPack 58. From the specifications: FLAC at 8 kHz with its largest usual block 153 (11 bytes in
# 4,608 samples), Vorbis at 8 kHz 250 (a byte in 256 samples). Codecs with another limit are in the table.
_LEAST_BIT_RATE = 100
_LEAST_BIT_RATES = {
    "wavpack": 30,
    # A frame of NO_DATA is one byte in 20 ms: 400.
    "amr_nb": 300,
    "amr_wb": 300,
    # Five bits in 20 ms: 250.
    "speex": 200,
    # The lowest bit rates of the standards are 32,000 for layer I and AC-3, and 8,000 for layers II and III.
    "mp1": 4_000,
    "mp2": 4_000,
    "mp3": 4_000,
    "ac3": 16_000,
}
# Bound on the work: samples of all channels together, per second of the longest audio (stereo at 48 kHz).
_SAMPLES_PER_SECOND = 2 * 48_000
# Seconds of audio that are not checked, because the shortest files consist mostly of headers.
_TRUSTED_SECONDS = 60.0
# Packets may be larger than their part of the file, because Matroska stores the bytes that all packets begin
# with only once.
_LARGEST_GROWTH = 1.25
_TRUSTED_BYTES = 64 * 1024


class Plausibility:
    """Counts the bytes that the decoder gets and the samples that it gives. Refuses impossible counts.

    Time stamps and headers are ignored, because they may lie. `size`: bytes of the file. `codec`: FFmpeg's
    canonical name.
    """

    def __init__(self, request: Decode, size: int, codec: str) -> None:
        self._most_bytes = size * _LARGEST_GROWTH + _TRUSTED_BYTES
        self._most_samples = request.max_seconds * _SAMPLES_PER_SECOND
        self._bytes_per_second = _LEAST_BIT_RATES.get(codec, _LEAST_BIT_RATE) / 8
        self._codec = codec
        self._bytes = 0
        self._samples = 0  # of all channels together
        self._seconds = 0.0

    def fed(self, size: int) -> None:
        """Count a packet of `size` bytes.

        Raises Refusal `audio_corrupt` when the packets together are larger than the file: then its index
        names the same bytes more than once.
        """
        self._bytes += size
        if self._bytes > self._most_bytes:
            raise Refusal(
                "audio_corrupt",
                "The index of this file names the same bytes more than once; it is damaged or made up.",
            )

    def decoded(self, samples: int, channels: int, rate: int) -> None:
        """Count `samples` decoded samples of each channel, at `rate` Hz.

        Raises Refusal `audio_corrupt` when the bytes so far cannot hold so much audio, and `processing_error`
        when there are more samples than are processed.
        """
        self._samples += samples * channels
        self._seconds += samples / max(rate, 1)
        if self._samples > self._most_samples:
            raise Refusal(
                "processing_error",
                f"The audio has more than {self._most_samples:,.0f} samples in {channels} channels, the most"
                " that is processed. Split it, or lower its sample rate.",
            )
        if self._seconds > _TRUSTED_SECONDS + self._bytes / self._bytes_per_second:
            raise Refusal(
                "audio_corrupt",
                f"{self._seconds:.0f} s of audio in {self._bytes} bytes are more than {self._codec} can hold;"
                " the file is damaged or made up.",
            )
