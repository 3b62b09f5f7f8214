"""The names of slots and engines, and the choice of an engine for a slot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

Slot: TypeAlias = Literal["whisper", "deepgram", "assemblyai", "elevenlabs"]
Engine: TypeAlias = Literal["local", "deepgram", "assemblyai", "elevenlabs", "openai"]
SLOTS: tuple[Slot, ...] = get_args(Slot)
ENGINES: tuple[Engine, ...] = get_args(Engine)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotChoice:
    """The engine of a slot. `model` and `base_url`: None for the engine's default.

    `allow_training`: whether the engine may keep the audio and train on it. Only Deepgram takes this from a
    request.
    """

    slot: Slot
    engine: Engine = "local"
    model: str | None = None
    base_url: str | None = None
    key: str | None = field(default=None, repr=False)
    allow_training: bool = False
