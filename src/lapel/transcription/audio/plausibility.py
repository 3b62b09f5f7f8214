"""How much audio a file can hold: files that claim more are made up, to cost time and money."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.subworker import Refusal

if TYPE_CHECKING:
    from lapel.transcription.audio.messages import Decode

# Bits per second of packets below which no encoder goes, even for a day of silence. Measured: libopus with
# DTX 133 (a byte in 60 ms or two in 120 ms), AAC at 8 kHz 255 (4 bytes in 1,024 samples), FLAC 980 to 1,320,
# WavPack 58. From the specifications: FLAC at 8 kHz with its largest usual block 153 (11 bytes in 4,608
# samples), Vorbis at 8 kHz 250 (a byte in 256 samples).
_LEAST_BIT_RATE = 100
_LEAST_BIT_RATES = {
    "wavpack": 30,
    # 13 frames of NO_DATA, a byte each in 20 ms: 400.
    "amr_nb": 300,
    "amr_wb": 300,
    # Five bits in 20 ms: 250.
    "speex": 200,
    # The lowest rates of the standards are 8,000 and, of layer I and AC-3, 32,000.
    "mp1": 4_000,
    "mp2": 4_000,
    "mp3": 4_000,
    "ac3": 16_000,
}
# The work of decoding, in samples of all channels per second of the longest audio: stereo at 48 kHz.
_SAMPLES_PER_SECOND = 2 * 48_000
# Seconds of audio that are taken on trust, since the shortest files are all beginning.
_TRUSTED_SECONDS = 60.0
# Packets may be larger than what the file holds of them: Matroska leaves out what all of them begin with.
_LARGEST_GROWTH = 1.25
_TRUSTED_BYTES = 64 * 1024


class Plausibility:
    """Counts what goes into the decoder and what comes out of it, and ends a decode that cannot be honest.

    Time stamps and headers are not asked: they may lie. `size`: bytes of the file. `codec`: FFmpeg's name.
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
        """A packet of so many bytes. Raises Refusal when the file names the same bytes again and again."""
        self._bytes += size
        if self._bytes > self._most_bytes:
            raise Refusal(
                "audio_corrupt",
                "The index of this file names the same bytes more than once; it is damaged or made up.",
            )

    def decoded(self, samples: int, channels: int, rate: int) -> None:
        """So many samples of each channel, at `rate` Hz.

        Raises Refusal when they are more than the bytes so far can hold, or more than is decoded at most.
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
