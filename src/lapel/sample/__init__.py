"""A short piece of real human speech, for the demo and for tests that need audio with known words.

Source and rights: ATTRIBUTION.md beside this file.
"""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent


class Sample:
    """The sample file and its properties. The file is read on first use.

    path: the Ogg/Opus file (mono, 16 kHz speech, about 24 kbit/s).
    content_type: as POST /v1/recordings/{id}/upload-url takes it.
    duration_ms: playback length in milliseconds, without the pre-skip.
    """

    path: Final[Path] = _FOLDER / "librivox.opus"
    content_type: Final = "audio/opus"
    duration_ms: Final = 24_730

    @cached_property
    def data(self) -> bytes:
        """The whole file, 76,728 bytes."""
        return self.path.read_bytes()

    @cached_property
    def text(self) -> str:
        """The spoken words, punctuated, on one line."""
        return " ".join((_FOLDER / "librivox.txt").read_text(encoding="utf-8").split())

    @property
    def size(self) -> int:
        """Length of the file in bytes."""
        return len(self.data)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, 64 lower-case hex digits."""
        return hashlib.sha256(self.data).hexdigest()


def speech() -> Sample:
    """About 25 seconds of one voice reading Jane Austen, with its text."""
    return Sample()
