"""Providers for other slices: which engine answers a slot, and the failures of calls.

The calls themselves are in `http/`, which only what calls a service imports: aiohttp is not small.
"""

from __future__ import annotations

from lapel.slices.providers.choice import (
    LANGUAGE_SLOTS,
    SPEECH_SLOTS,
    Engine,
    LanguageEngine,
    LanguageSlot,
    Slot,
    SlotChoice,
    SpeechEngine,
    SpeechSlot,
)
from lapel.slices.providers.provider_failures import AwayHow, ProviderAway, ProviderFailed, RefusedForGood
from lapel.slices.providers.slots.slots import account_at, at_vendor, choice_of, engine_of

__all__ = [
    "LANGUAGE_SLOTS",
    "SPEECH_SLOTS",
    "AwayHow",
    "Engine",
    "LanguageEngine",
    "LanguageSlot",
    "ProviderAway",
    "ProviderFailed",
    "RefusedForGood",
    "Slot",
    "SlotChoice",
    "SpeechEngine",
    "SpeechSlot",
    "account_at",
    "at_vendor",
    "choice_of",
    "engine_of",
]
