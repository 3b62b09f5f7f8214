"""The names of slots and engines, and the choice of an engine for a slot."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeAlias, get_args

SpeechSlot: TypeAlias = Literal["whisper", "deepgram", "assemblyai", "elevenlabs"]
LanguageSlot: TypeAlias = Literal["gemini", "openai", "claude"]
Slot: TypeAlias = SpeechSlot | LanguageSlot
SpeechEngine: TypeAlias = Literal["local", "deepgram", "assemblyai", "elevenlabs", "openai"]
LanguageEngine: TypeAlias = Literal["local", "openai", "anthropic", "gemini"]
Engine: TypeAlias = Literal["local", "deepgram", "assemblyai", "elevenlabs", "openai", "anthropic", "gemini"]
SPEECH_SLOTS: tuple[SpeechSlot, ...] = get_args(SpeechSlot)
LANGUAGE_SLOTS: tuple[LanguageSlot, ...] = get_args(LanguageSlot)
SLOTS: tuple[Slot, ...] = (*SPEECH_SLOTS, *LANGUAGE_SLOTS)
SPEECH_ENGINES: tuple[SpeechEngine, ...] = get_args(SpeechEngine)
LANGUAGE_ENGINES: tuple[LanguageEngine, ...] = get_args(LanguageEngine)

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotChoice:
    """The engine of a slot. `model` and `base_url`: None for the engine's default.

    `allow_training`: whether the engine may keep the audio and train on it. Only Deepgram takes this from a
    request. `context_tokens`: the window of a language model; None for the model's usual one. Prices are US
    dollars for a million tokens; None if the operator has not told them. `cached_price`: of tokens that the
    service had kept, `cache_write_price`: of those that it begins to keep; None for the price of other input.
    """

    slot: Slot
    engine: Engine = "local"
    model: str | None = None
    base_url: str | None = None
    key: str | None = field(default=None, repr=False)
    allow_training: bool = False
    context_tokens: int | None = None
    input_price: Decimal | None = None
    cached_price: Decimal | None = None
    cache_write_price: Decimal | None = None
    output_price: Decimal | None = None


def dollars(millionths: int | None) -> Decimal | None:
    """A stored price in US dollars."""
    return None if millionths is None else Decimal(millionths) / _MILLION


def millionths(price: Decimal | None) -> int | None:
    """A price in US dollars, as it is stored."""
    return None if price is None else int(price * _MILLION)
