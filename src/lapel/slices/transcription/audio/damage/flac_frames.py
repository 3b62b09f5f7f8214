"""The place of a FLAC frame in its recording, which its header says. Source: RFC 9639, section 9.1."""

from __future__ import annotations


def coded_number(packet: bytes) -> tuple[int, bool] | None:
    """The number in a frame's header, and whether it counts samples instead of frames.

    None if the packet does not begin with a header.
    """
    if len(packet) < 5 or packet[0] != 0xFF or packet[1] & 0xFE != 0xF8:
        return None
    first = packet[4]
    length = 8 - (first ^ 0xFF).bit_length()  # as in UTF-8, with up to 36 bits
    if length == 0:
        return first, bool(packet[1] & 1)
    rest = packet[5 : 4 + length]
    if length == 1 or length > 7 or len(rest) < length - 1:
        return None
    number = first & (0x7F >> length)
    for byte in rest:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 0x3F
    return number, bool(packet[1] & 1)


class FlacPlaces:
    """Compares the numbers of frames with the audio that was decoded."""

    def __init__(self) -> None:
        self._block = 0  # samples of a frame, in a file whose frames are all equally long
        self._expected: int | None = None

    def take(self, packet: bytes, samples: int, rate: int) -> float:
        """The next frame, of `samples` samples. Returns the seconds that are missing before it."""
        found = coded_number(packet)
        if found is None or rate <= 0:
            return 0.0
        self._block = self._block or samples
        number, counts_samples = found
        begin = number if counts_samples else number * self._block
        missing = 0 if self._expected is None else begin - self._expected
        self._expected = begin + samples
        return max(missing, 0) / rate
