"""Conversations with known words, times and speakers: tests/fixtures/speech."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from tests.support.samples import decoded

FOLDER = Path(__file__).parents[1] / "fixtures" / "speech"


class Turn(msgspec.Struct, frozen=True):
    """The words of one speaker's turn. `speech`: spans in seconds, without pauses of 0.3 s and more."""

    speaker: str
    text: str
    speech: list[tuple[float, float]]


class _Told(msgspec.Struct):
    duration_ms: int
    language: str
    turns: list[Turn]


class Conversation:
    """One of the conversations. Its files are read on first use."""

    def __init__(self, name: Literal["two-speakers", "three-speakers"]) -> None:
        self.path = FOLDER / f"{name}.opus"

    @cached_property
    def _told(self) -> _Told:
        return msgspec.json.decode(self.path.with_suffix(".json").read_bytes(), type=_Told)

    @property
    def turns(self) -> list[Turn]:
        """The turns, in the order in which they are spoken."""
        return self._told.turns

    @property
    def duration_ms(self) -> int:
        """Playback length in milliseconds."""
        return self._told.duration_ms

    @property
    def text(self) -> str:
        """All words, punctuated, on one line."""
        return " ".join(turn.text for turn in self.turns)

    @property
    def speakers(self) -> list[str]:
        """Names, in order of appearance."""
        return list(dict.fromkeys(turn.speaker for turn in self.turns))

    @property
    def speech(self) -> list[tuple[float, float]]:
        """Spans, in seconds, in which at least one person speaks."""
        return [span for turn in self.turns for span in turn.speech]

    def samples(self) -> NDArray[np.int16]:
        """The decoded samples: 16 kHz, mono."""
        return decoded(self.path)

    def pcm(self, folder: Path) -> Path:
        """A file in `folder` with the decoded samples: 16 kHz, mono, signed 16-bit little-endian."""
        target = folder / f"{self.path.stem}.pcm"
        target.write_bytes(self.samples().astype("<i2").tobytes())
        return target
